"""What the fuzzer begins with: small files, each with something that makes it hard to read."""

from __future__ import annotations

from typing import Final

from tests.fuzz.case import PACKERS, bytes_of

_TEXTS: Final = (
    "id,name,amount\n1,a,1.5\n2,b,2.5\n",
    'id;text\r\n1;"a; ""b"""\r\n2;"two\r\nlines"\r\n',
    "id|name\n1|O'Brien\n2|'quoted'\n",
    "a\tb\n1\t\n\t2\n",
    "sep=;\nid;amount\n1;1,5\n2;2,5\n",
    "Report of the year;;\n\nid;name;city\n1;Ann;Rome\n2;Bob;Oslo\n",
    "# made by a machine\nid,when\n1,2024-01-15\n2,2024-01-16T10:30:00Z\n",
    "name\nAnn\nBob\n",
    "a,b,\n1,2,\n3,4,\n",
    "a,a,,A\n1,2,3,4\n",
    "a,b\n1,2,3\n1\n3,4\n\n5,6",
    "1,2\n3,4\n",
    "zip,day,flag\n007,13/01/2024,yes\n010,01/13/2024,no\n",
    "n\n2147483647\n2147483648\n9223372036854775808\n",
    'a,b\n"1,2\n3,4\n',
    "a,b\n'x, y','it''s'\n'z','w'\n",
    'a,b\n"say \\"hi\\"",1\n"c:\\",2\n',
    "name,city\nJosé,São Paulo\nŁukasz,Łódź\n田中,東京\n",
    "country,2021,2022,2023\nIT,1,2,3\n",
    "a,b\r\n1,2\n3,4\r5,6\r\n",
    "id,name\n1,a\n2,b\n\nkey,value,more\nx,1,2\ny,3,4\n",
    "a b c\n1 2 3\n4 5 6\n",
    "a:b\n1:2\n3:4\n",
    "a||b\n1||2\n3||4\n",
    "a, b\n1, 2\n3, 4\n",
    "id,name\n",
    " \n\n",
)
_ENCODINGS: Final = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252", "iso-8859-2")

SEEDS: Final = tuple(
    [bytes_of(text.encode(), types=number % 3, step=number % 4, block=number % 4) for number, text in enumerate(_TEXTS)]
    + [bytes_of(_TEXTS[17].encode(encoding, "replace"), step=1) for encoding in _ENCODINGS]
    + [bytes_of(_TEXTS[1].encode(), packing=packing) for packing in range(1, len(PACKERS))]
    + [bytes_of(_TEXTS[0].encode(), _TEXTS[0].encode() + b"3,c,x\n", _TEXTS[10].encode())]
    + [bytes_of(_TEXTS[11].encode(), generate=True), bytes_of(b""), bytes_of(b"\x1f\x8b"), bytes_of(bytes(200))]
    + [b"4\n\xff\0next file\0\xff:4\n\x1a"]
    + [bytes_of(b'a,b\n1,2\n2,caf\xe9\n3,"x\n'), bytes_of("a,b\n1,é\n".encode() * 3 + b"2,\xff\n")]
)
