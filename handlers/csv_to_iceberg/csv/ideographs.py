"""
Which East Asian encoding makes words of some bytes.

In the measure of alphabets.py. Nearly all of what people write is in the first level of the standards, which is a range
of first bytes, much of it in a hundred characters, and most of a table in some five hundred.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import islice
from typing import Final, NamedTuple

from handlers.csv_to_iceberg.csv.alphabets import MOST, OTHER, Guess, shares_by_rank


class _Standard(NamedTuple):
    codec: str
    first: int
    last: int
    """First bytes of the characters in common use."""
    share: float
    """Of one of them."""
    frequent: str
    """Those that every text has many of."""
    usual: str
    """Those that names, places and the headers of tables are made of besides."""


_SIMPLIFIED: Final = (
    "的一是不了人我在有他这中大来上国个到说们为子和你地出道也时年得就要下以生会自着去之过家学对可里后小么心多天能好都然没日于起"
    "还发成事只作当想看文无开手用主行方又如前所本见经头面公同三已老从动两长市区名号价量品单称数"
)
_SIMPLIFIED_USUAL: Final = (
    "王李张刘陈杨黄赵周吴徐孙胡朱高林何郭马罗梁宋郑谢韩唐冯董萧程曹袁邓许傅沈曾彭吕苏卢蒋蔡贾丁魏薛叶余潘杜戴夏钟汪田任姜范石姚谭廖邹熊金"
    "陆郝孔白崔康毛邱秦江史顾侯邵孟龙万段雷钱汤尹黎易常武乔贺赖龚伟芳娜秀英敏静丽强磊军洋勇艳杰娟涛明超霞平刚桂华玉兰建红梅志鹏宇婷浩欣雪"
    "京海广州深圳津重庆成都杭南武汉西安苏沈阳青岛宁波济哈尔滨春厦门福合肥昆山东河北湖四川省县镇乡村街路桥港澳台湾内蒙古新疆藏云贵甘肃陕吉辽浙"
    "订客户额备注货状态期间电话邮箱编件类型产库存供应商姓性别龄男女职业部门资格总计费收支付款账银订购销售退完送达运快递物流信息息登录系统密码"
    "描述标题规米色红蓝绿黑高宽度重温湿压力速率最低均值合格检测试验结果原因处理负责员工程项目管理技术服务务务中心研究院大学医药食品饮水果菜肉"
    "第二四五六七八九十百千万元角分月号星周早晚午夜今昨明更改创录入出口进关国际政府法律民族教育科技工业农林交通车船飞机站场馆店酒房楼室层座"
    "与及其等或但被把让由向因此使给将每各该些什哪谁怎样很非常再最真正实情问题知觉认感定意思义表现样点条例种次回身体全外主加比更变化样式位置"
    "否是状未待取消确认有效缺失错误正常启停删除新增查询统默默用权限组织机构单位联系传真址邮政编码证件护照籍贯婚姻学历专"
)
_TRADITIONAL: Final = (
    "的一是不了人我在有他這中大來上國個到說們為子和你地出道也時年得就要下以生會自著去之過家學對可裡後小麼心多天能好都然沒日於起"
    "還發成事只作當想看文無開手用主行方又如前所本見經頭面公同三已老從動兩長市區名號價量品單稱數"
)
_TRADITIONAL_USUAL: Final = (
    "王李張劉陳楊黃趙周吳徐孫胡朱高林何郭馬羅梁宋鄭謝韓唐馮董蕭程曹袁鄧許傅沈曾彭呂蘇盧蔣蔡賈丁魏薛葉余潘杜戴夏鍾汪田任姜范石姚譚廖鄒熊金"
    "陸郝孔白崔康毛邱秦江史顧侯邵孟龍萬段雷錢湯尹黎易常武喬賀賴龔偉芳娜秀英敏靜麗強磊軍洋勇豔傑娟濤明超霞平剛桂華玉蘭建紅梅志鵬宇婷浩欣雪淑惠雅"
    "京海廣州深圳津重慶杭南漢西安蘇青島寧波濟春廈門福合肥昆山東河北湖四川省縣鎮鄉村街路橋港澳台臺灣內新雲貴高雄桃園竹苗栗彰化義屏宜蘭投嘉基隆九龍"
    "訂客戶額備註注貨狀態期間電話郵箱編件類型產庫存供應商姓性別齡男女職業部門資格總計費收支付款帳銀購銷售退完送達運快遞物流信息登錄系統密碼訊"
    "描述標題規米色紅藍綠黑寬度溫濕壓力速率最低均值檢測試驗結果原因處理負責員工程項目管理技術服務中心研究院大學醫藥食品飲水果菜肉"
    "第二四五六七八九十百千元角分月星早晚午夜今昨更改創入出口進關際政府法律民族教育科技農林交通車船飛機站場館店酒房樓室層座巷弄段"
    "與及其等或但被把讓由向因此使給將每各該些什哪誰怎樣很非常再真正實情問知覺認感定意思義表現點條例種次回身體全外加比變式位置否未待取消確效缺失錯誤"
    "啟停刪除增查詢權限組織構單聯絡繫傳真址證護照歷專"
)
_HANGUL: Final = (
    "이다는에의가을고하지한를기도은로사서있자어나대시인그들아해리것수정보주부일전구상여라장성조만제원비선경우공무동신화안미마방국세모게"
    "거면년울산천김박최민영호현지명품량격"
)
_HANGUL_USUAL: Final = (
    "강윤임오권황송류홍양손배백허유남심노곽차진엄채연준희숙철훈석태광재승용우혁은예슬빈찬규혜란순옥복길종건덕중문학교육번이름주소전화이메일"
    "날짜금액수량단가합계상태코드분류항목비고순위고객회사업체직원부서역할주문배송결제완료취소환불입출판매구매재고제품상품명칭설명온도습도압력"
    "속높낮평균최저값결과검사측정관리시스템데터베스북울군읍면포항창원청충경북제주평택성남춘강릉속초목여순광역별특구로길층호실관역점월목금토"
    "요까지부터또와과으니까며든것같않없있습니감합니했었겠던든면서때문더많적작크새오늘내어제물건음식커피빵과자채소육류생선약병의료환간호사처"
    "책영악운동게임컴퓨터휴대폰텔레비냉장세탁"
)
_KANJI: Final = (
    "日一国会人年大十二本中長出三同時政事自行社見月分議後前民生連五発間対上部東者党地合市業内相方四定今回"
    "新場金員九入選立開手名価数量商品"
)
_KANJI_USUAL: Final = (
    "田山川木村林井小野佐藤鈴高橋渡辺伊加吉清水斎松石原和池下阿森坂遠青西福岡太三浦後近藤竹内中島安宮菅葉武谷平菊河杉久保丸千今横工増丹羽"
    "郎子美恵太一男雄夫明和正健介翔陽菜由紀香織直樹真理奈優花結衣大輔亮拓也剛誠博隆浩裕幸智洋幹友愛彩桜莉咲翼蓮悠斗健次"
    "京都府県区町村代丁目番号北海道札幌仙台埼玉神奈横浜川崎相模静岡名古屋愛知三重阪堺兵庫戸広島香徳媛松高知福岡九州熊本鹿児宮崎沖縄那覇長崎"
    "山形秋手茨城栃群馬梨沢富金石井滋賀良歌根鳥取口分佐賀崎渋宿港品世谷杉並板橋江墨"
    "氏名前住所電話郵便年齢性別男女生月日備考注文客様金額単価合計税込抜在庫数量商品番型式色寸法重温度湿圧力速平均最高低値結果検査測定担当者"
    "部署課係役職社員給与支払請求書領収済未完了発送配達状態種類区分項目説明内容登録更新日時開始終削除有無効期限契約顧取引先株式会社支店本営業"
    "管理情報技術製造販売購買経理財務総務人事企画研究学校教育病院医師薬食肉魚野菜果飲酒米茶水電気車駅線空港船飛機運転交通私達彼何思言知来"
    "一二四五六七八百千万億円上下左右東西南北外春夏秋冬朝昼夜火土花草木動物犬猫赤白黒緑"
)
_HALF_WIDTH: Final = "ﾝｲｽﾙｰﾄｼｱｳｷｶﾗﾘｸﾀｻｺｵﾏﾃﾅﾌﾚﾁﾔﾛｯﾐﾆｮﾊｴｾﾒﾕﾉﾜﾖﾎｭﾋﾂﾑﾓｿｹﾍｬﾈｪﾇｨｦｧｩｫ"
"""Katakana of one byte, the commonest first."""
_VOICED: Final = "ｶｷｸｹｺｻｼｽｾｿﾀﾁﾂﾃﾄﾊﾋﾌﾍﾎｳ"
"""What the marks of voice stand behind, and nothing else."""
_MARKS_OF_VOICE: Final = "ﾞﾟ"

_STANDARDS: Final = (
    _Standard("gb18030", 0xB0, 0xD7, 1 / 5000, _SIMPLIFIED, _SIMPLIFIED_USUAL),
    _Standard("cp950", 0xA4, 0xC6, 1 / 5000, _TRADITIONAL, _TRADITIONAL_USUAL),
    _Standard("cp932", 0x88, 0x97, 1 / 5000, _KANJI, _KANJI_USUAL),
    _Standard("euc_jp", 0xB0, 0xCF, 1 / 5000, _KANJI, _KANJI_USUAL),
    _Standard("cp949", 0xB0, 0xC8, 1 / 4000, _HANGUL, _HANGUL_USUAL),
)
_HALF_WIDTH_SHARES: Final = shares_by_rank(_HALF_WIDTH)
_MARK_OF_VOICE: Final = 1 / 6
_FREQUENT: Final = 1 / 250
"""Share of a frequent character."""
_USUAL: Final = 1 / 800
_KANA: Final = 1 / 120
_SIGN: Final = 1 / 500
"""Share of a punctuation mark, or a letter of full width."""
_DOUBT: Final = 3.0
"""How much less often they are met than Windows-1252, as a natural logarithm."""
_LIKELY: Final = -8.4
"""Mean logarithm above which a decoding is words."""


def guesses(data: bytes) -> Iterator[Guess]:
    """Yield what is to be said for each East Asian encoding that has all of the bytes."""
    for standard in _STANDARDS:
        try:
            text = data.decode(standard.codec)
        except UnicodeDecodeError:
            continue
        places = islice((at for at, character in enumerate(text) if not character.isascii()), MOST)
        shares = [_share(text[at], text[at - 1 : at], text[at + 1 : at + 2], standard) for at in places]
        likelihood = sum(map(math.log, shares))
        mean = likelihood / max(1, len(shares))
        yield Guess(text, standard.codec, likelihood - _DOUBT, words=mean > _LIKELY)


def _is_half_width(character: str) -> bool:
    return "\uff61" <= character <= "\uff9f"


def _share(character: str, before: str, after: str, standard: _Standard) -> float:
    if character in standard.frequent:
        return _FREQUENT
    if character in standard.usual:
        return _USUAL
    if _is_half_width(character):
        return _share_of_half(character, before, after)
    if "\u3041" <= character <= "\u30ff":
        return _KANA
    if "\u3000" <= character < "\u3041" or "\uff01" <= character <= "\uff5e":
        return _SIGN
    return standard.share if standard.first <= character.encode(standard.codec)[0] <= standard.last else OTHER


def _share_of_half(character: str, before: str, after: str) -> float:
    if character in _MARKS_OF_VOICE:
        return _MARK_OF_VOICE if before and before in _VOICED else OTHER
    beside = _is_half_width(before) or _is_half_width(after)
    return _HALF_WIDTH_SHARES.get(character, _SIGN) if beside else OTHER
