"""The command line: what each word means, exit codes, and errors that say what to do."""

import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from consumer import __version__, exits
from consumer.cli import COMMANDS, Command, Group, cli, main
from consumer.demo import MARK, fresh_home
from consumer.exits import CommandError
from consumer.pace import Pace
from consumer.permission import refuse_unwritable
from consumer.settings import Settings
from consumer.terminal import command, shell, shown
from consumer.times import duration, iso, since

pytestmark = pytest.mark.usefixtures("restored_logs")

Output = pytest.CaptureFixture[str]

NOW = 1_700_000_000_000


def commands() -> dict[str, Command]:
    """Return every command that does something, by the words that call it."""
    found: dict[str, Command] = {}
    context = click.Context(cli)
    for name in COMMANDS:
        made = cli.get_command(context, name)
        inner = made.commands.items() if isinstance(made, Group) else [("", made)]
        found |= {f"{name} {below}".strip(): each for below, each in inner if isinstance(each, Command)}
    return found


# Help


def test_clients_of_servers_that_the_settings_do_not_name_are_not_loaded() -> None:
    code = "import sys, consumer.app, consumer.kinds, consumer.cli_work; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()

    clients = {"aiobotocore", "aiohttp", "botocore", "grpc", "lxml", "polars", "trino"}
    assert clients.intersection(loaded) == set()


def test_help_lists_every_command_without_importing_one(capsys: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in COMMANDS.values():
        monkeypatch.setitem(sys.modules, place.module, None)

    assert main(["--help"]) == exits.OK

    out = capsys.readouterr().out
    assert all(f"  {name} " in out and place.summary in out for name, place in COMMANDS.items())


@pytest.mark.parametrize("words", commands())
def test_help_of_a_command_has_examples_that_begin_with_it(words: str, capsys: Output) -> None:
    assert main([*words.split(), "--help"]) == exits.OK

    examples = capsys.readouterr().out.partition("Examples:\n")[2].splitlines()
    assert examples
    assert all(example.startswith(f"  lakedrop {words}") for example in examples)


@pytest.mark.parametrize("name", [name for name in commands() if " " not in name])
def test_summary_is_the_first_line_of_the_help(name: str) -> None:
    made = commands()[name]

    assert (made.help or "").strip().splitlines()[0] == COMMANDS[name].summary


@pytest.mark.parametrize("words", commands())
def test_every_option_of_a_command_is_explained(words: str) -> None:
    options = [option for option in commands()[words].params if isinstance(option, click.Option)]

    assert [option.name for option in options if not option.help] == []


@pytest.mark.parametrize("words", commands())
def test_every_command_takes_a_home(words: str) -> None:
    assert "--home" in [name for option in commands()[words].params for name in option.opts]


@pytest.mark.parametrize(
    ("words", "default"), [("status", "$LAKEDROP_HOME, else ./lakedrop-home"), ("demo", "./lakedrop-demo")]
)
def test_help_names_the_home_that_is_used_when_none_is_named(words: str, default: str) -> None:
    (told,) = [
        option.help for option in commands()[words].params if isinstance(option, click.Option) and option.name == "home"
    ]

    assert told is not None
    assert told.endswith(f"[default: {default}]")


def test_version_is_told(capsys: Output) -> None:
    assert main(["--version"]) == exits.OK
    assert __version__ in capsys.readouterr().out


# Exit codes


@pytest.mark.parametrize(
    "arguments",
    [
        ["frob"],
        ["run", "--frob"],
        ["why"],
        ["query", "select 1", "--format", "xml"],
        ["replay", "--since", "yesterday"],
        ["replay", "--status", "odd"],
        ["run", "--once", "--wait", "-1"],
        ["try", "nowhere.csv"],
    ],
    ids=" ".join,
)
def test_wrong_use_is_64(arguments: list[str], capsys: Output) -> None:
    assert main(arguments) == exits.USAGE
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("words", ["run", "status", "check", "sweep", "plan", "why a/b", "query 'x'", "ledger rebuild"])
def test_faulty_settings_are_78_with_a_line_each_and_nothing_is_made(
    words: str, tmp_path: Path, capsys: Output
) -> None:
    (tmp_path / "lakedrop.toml").write_text("frob = 1\nlease_seconds = 0\n")

    assert main([*words.split(), "--home", str(tmp_path)]) == exits.CONFIGURATION

    faults = capsys.readouterr().err.splitlines()
    assert len(faults) == 2
    assert all(fault.startswith("lakedrop: ") for fault in faults)
    assert [path.name for path in tmp_path.iterdir()] == ["lakedrop.toml"]


def test_faulty_routes_are_78_with_a_line_each(tmp_path: Path, capsys: Output) -> None:
    (tmp_path / "lakedrop.toml").write_text(
        '[[routes]]\nname = "a"\nbucket = "b"\nhandler = "nobody"\n'
        '[[routes]]\nname = "c"\nbucket = "d"\noptions = { tpyes = "seed" }\n'
    )

    assert main(["status", "--home", str(tmp_path)]) == exits.CONFIGURATION

    first, second = capsys.readouterr().err.splitlines()
    assert "route a: handler = 'nobody'" in first
    assert "route c: options.tpyes = 'seed': unknown option" in second
    assert [path.name for path in tmp_path.iterdir()] == ["lakedrop.toml"]


@pytest.mark.parametrize("other", ["frob = 1", "lease_seconds = 5\nheartbeat_seconds = 5"])
def test_faults_of_settings_and_of_options_are_told_together(other: str, tmp_path: Path, capsys: Output) -> None:
    (tmp_path / "lakedrop.toml").write_text(
        f'{other}\n[[routes]]\nname = "c"\nbucket = "d"\noptions = {{ tpyes = "seed" }}\n'
    )

    assert main(["status", "--home", str(tmp_path)]) == exits.CONFIGURATION

    first, second = capsys.readouterr().err.splitlines()
    assert "frob: unknown" in first or "heartbeat_seconds = 5" in first
    assert "route c: options.tpyes = 'seed': unknown option" in second


def test_fault_of_a_route_hides_none_of_its_options(tmp_path: Path, capsys: Output) -> None:
    (tmp_path / "lakedrop.toml").write_text(
        '[[routes]]\nname = "c"\nbucket = "d"\nbuckt = "e"\noptions = { tpyes = "seed" }\n[[routes]]\nbucket = "d"\n'
    )

    assert main(["status", "--home", str(tmp_path)]) == exits.CONFIGURATION

    assert sorted(line.split(": ")[1] for line in capsys.readouterr().err.splitlines()) == [
        "route c",
        "routes.0.buckt",
        "routes.1.name",
    ]


@pytest.mark.parametrize("words", ["status", "sweep", "plan", "replay", "why a/b", "query 'x'", "ledger rebuild"])
def test_mistyped_home_is_78_and_not_made(words: str, tmp_path: Path, capsys: Output) -> None:
    home = tmp_path / "hoem"

    assert main([*words.split(), "--home", str(home)]) == exits.CONFIGURATION

    assert f"no home at {home}" in capsys.readouterr().err
    assert not home.exists()


@pytest.mark.parametrize("words", ["status", "sweep", "query 'x'"])
def test_folder_of_other_things_is_no_home(words: str, tmp_path: Path, capsys: Output) -> None:
    (tmp_path / "thesis.txt").touch()

    assert main([*words.split(), "--home", str(tmp_path)]) == exits.CONFIGURATION

    assert f"no home at {tmp_path}" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("words", ["run", "run --once"])
def test_no_home_is_made_in_a_folder_of_other_things(words: str, tmp_path: Path, capsys: Output) -> None:
    (tmp_path / "thesis.txt").touch()

    assert main([*words.split(), "--home", str(tmp_path)]) == exits.CONFIGURATION

    told = capsys.readouterr().err
    assert f"{tmp_path} holds other things and is no home" in told
    assert f"mkdir {tmp_path}/buckets" in told
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_damaged_ledger_is_69_and_says_how_to_repair_it(tmp_path: Path, capsys: Output) -> None:
    (tmp_path / "ledger.db").write_text("no database, and long enough for one to look at its beginning")

    assert main(["status", "--home", str(tmp_path)]) == exits.UNAVAILABLE

    told = capsys.readouterr().err
    assert "ledger.db: file is not a database" in told
    assert f"lakedrop ledger rebuild --home {tmp_path}" in told


@pytest.mark.parametrize("words", ["status", "why a/b", "query 'x'", "sweep", "run"])
@pytest.mark.parametrize("name", ["", "ledger.db"], ids=["home", "ledger"])
def test_home_that_this_user_may_only_read_is_69_without_advice_to_repair_it(
    words: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    (tmp_path / "ledger.db").touch()
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK or Path(path) != tmp_path / name)

    assert main([*words.split(), "--home", str(tmp_path)]) == exits.UNAVAILABLE

    told = capsys.readouterr().err
    assert f"no permission to write {tmp_path / name}" in told
    assert "rebuild" not in told


def test_file_beside_a_database_that_vanishes_meanwhile_is_no_lack_of_permission(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last user of a database who closes it removes them."""
    beside = tmp_path / "ledger.db-shm"
    beside.touch()
    access = os.access
    asked: list[Path] = []

    def late(path: Path, mode: int) -> bool:
        if path == beside:
            beside.unlink(missing_ok=True)
            asked.append(path)
        return access(path, mode)

    monkeypatch.setattr(os, "access", late)
    refuse_unwritable(tmp_path)

    assert asked


def test_fault_of_ours_is_70_and_logged(monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("consumer.cli.load_settings", broken)

    assert main(["run"]) == exits.SOFTWARE

    error = capsys.readouterr().err
    assert "ZeroDivisionError: a bug" in error
    assert '"event": "crashed"' in error


def test_traceback_of_an_error_is_shown_on_request(tmp_path: Path, capsys: Output) -> None:
    main(["--debug", "status", "--home", str(tmp_path / "none")])

    assert "Traceback" in capsys.readouterr().err


# The home


@pytest.mark.parametrize("order", ["before", "after", "both", "environment"])
def test_home_is_taken_from_where_it_stands(
    order: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    home, other = tmp_path / "home", tmp_path / "other"
    if order == "environment":
        monkeypatch.setenv("LAKEDROP_HOME", str(home))
    arguments = {
        "before": ["--home", str(home), "status"],
        "after": ["status", "--home", str(home)],
        "both": ["--home", str(other), "status", "--home", str(home)],
        "environment": ["status"],
    }

    main(arguments[order])

    assert f"no home at {home}:" in capsys.readouterr().err


def test_commands_for_people_name_the_home_unless_it_is_the_usual_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command(Settings(home=tmp_path), "status") == f"lakedrop status --home {tmp_path}"
    assert command(Settings(), "status") == "lakedrop status"
    monkeypatch.setenv("LAKEDROP_HOME", str(tmp_path))
    assert command(Settings(), "status") == "lakedrop status"


def test_command_names_the_program_as_it_can_be_called(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(sys, "argv", [str(tmp_path / ".venv" / "bin" / "lakedrop"), "status"])

    assert command(Settings(), "status") == ".venv/bin/lakedrop status"


# check


def test_check_names_what_is_wrong_with_a_missing_home(tmp_path: Path, capsys: Output) -> None:
    home = tmp_path / "none"

    assert main(["check", "--home", str(home)]) == exits.UNAVAILABLE

    assert (
        f"FAIL  home                    {home} is not there\n      lakedrop run --home {home}\n"
        in capsys.readouterr().out
    )
    assert not home.exists()


def test_check_makes_nothing_in_a_folder_of_other_things(tmp_path: Path, capsys: Output) -> None:
    (tmp_path / "thesis.txt").touch()

    assert main(["check", "--home", str(tmp_path)]) == exits.UNAVAILABLE

    assert f"{tmp_path} holds other things" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_check_is_json_on_request(tmp_path: Path, capsys: Output) -> None:
    assert main(["check", "--json", "--home", str(tmp_path)]) == exits.OK

    results = json.loads(capsys.readouterr().out)
    names = [result["name"] for result in results]
    assert names == ["settings", "home", "ledger", "store", "broker", "handler csv_to_iceberg", "objects"]
    assert all(result["ok"] for result in results)


def test_check_reports_files_that_cannot_be_objects(tmp_path: Path, capsys: Output) -> None:
    bucket = tmp_path / "buckets" / "csv-uploads"
    bucket.mkdir(parents=True)
    (bucket / "caf\udce9.csv").touch()

    assert main(["check", "--home", str(tmp_path)]) == exits.UNAVAILABLE

    out = capsys.readouterr().out
    assert "FAIL  objects                 1 file cannot be objects: " in out
    assert "its name is not UTF-8" in out


# demo


def test_demo_refuses_a_folder_it_did_not_make(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()

    with pytest.raises(CommandError, match="no demo made it"):
        fresh_home(tmp_path)

    assert (tmp_path / "thesis.txt").exists()


def test_demo_begins_afresh_where_an_earlier_one_was(tmp_path: Path) -> None:
    home = tmp_path / "demo"
    fresh_home(home)
    (home / "ledger.db").touch()

    fresh_home(home)

    assert not (home / "ledger.db").exists()
    assert (home / MARK).exists()


# Words and times


def test_command_line_can_be_copied_whatever_it_holds() -> None:
    assert shell("why", "a b") == "why 'a b'"
    assert shell("why", "it's") == """why 'it'"'"'s'"""
    assert shell("why", "a\nb'\\") == r"""why $'a\x0ab\'\\'"""


def test_key_stays_on_one_line() -> None:
    assert shown("a\nb\x1b[31mc\u2028d ä 🚀") == "a\\nb\\x1b[31mc\\u2028d ä 🚀"


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("90s", NOW - 90_000),
        ("30min", NOW - 1_800_000),
        ("2h", NOW - 7_200_000),
        ("1.5 h", NOW - 5_400_000),
        ("3d", NOW - 259_200_000),
        ("2023-11-14T22:13:20Z", NOW),
        ("2023-11-15T00:13:20+02:00", NOW),
    ],
)
def test_point_in_the_past_is_a_length_of_time_or_an_iso_time(text: str, moment: int) -> None:
    assert since(text, NOW) == moment


@pytest.mark.parametrize("text", ["", "2", "2 fortnights", "yesterday", "2024-13-01"])
def test_other_points_in_the_past_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="neither a length of time"):
        since(text, NOW)


def test_times_for_machines_are_utc() -> None:
    assert iso(NOW + 5) == "2023-11-14T22:13:20.005Z"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.9, "9.9 s"), (75, "75 s"), (600, "10 min"), (9000, "2 h"), (200_000, "2 d")],
)
def test_length_of_time_is_told_in_its_largest_unit(seconds: float, text: str) -> None:
    assert duration(seconds) == text


# Work


def test_sweep_keeps_to_the_rate_of_its_option_or_else_of_the_settings(
    tmp_path: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates: list[float | None] = []

    class Noted(Pace):
        def __init__(self, rate: float | None) -> None:
            rates.append(rate)
            super().__init__(rate)

    monkeypatch.setattr("consumer.sweep.Pace", Noted)
    (tmp_path / "buckets" / "csv-uploads").mkdir(parents=True)
    (tmp_path / "lakedrop.toml").write_text("sweep_rate = 7\n")

    assert main(["sweep", "--home", str(tmp_path)]) == exits.OK
    assert main(["sweep", "--rate", "2.5", "--home", str(tmp_path)]) == exits.OK
    assert main(["sweep", "--rate", "0", "--home", str(tmp_path)]) == exits.USAGE
    assert rates == [7.0, 2.5]
    assert "x>0" in capsys.readouterr().err


def test_sweep_that_could_not_list_everything_says_that_there_is_no_certificate(tmp_path: Path, capsys: Output) -> None:
    (tmp_path / "lakedrop.toml").write_text(
        'store = "s3"\ns3_endpoint = "http://127.0.0.1:1"\ns3_access_key = "a"\ns3_secret_key = "b"\n'
    )
    certificate = tmp_path / "objects.jsonl"

    assert main(["sweep", "--certificate", str(certificate), "--home", str(tmp_path)]) == exits.UNAVAILABLE
    told = "".join(capsys.readouterr().out.split())
    assert f"{certificate}wasnotwritten:noteverythingcouldbelisted" in told
    assert not certificate.exists()


# Maintenance


def test_tables_are_looked_after_on_demand(tmp_path: Path, capsys: Output) -> None:
    folder = tmp_path / "buckets" / "csv-uploads" / "t"
    folder.mkdir(parents=True)
    (folder / "a.csv").write_text("n\n1\n")
    assert main(["run", "--once", "--home", str(tmp_path)]) == exits.OK
    capsys.readouterr()

    assert main(["table", "maintain", "--home", str(tmp_path)]) == exits.OK
    assert capsys.readouterr().out == "Nothing was due.\n"
    assert main(["table", "maintain", "lakehouse.t", "--dry-run", "--json", "--home", str(tmp_path)]) == exits.OK
    (told,) = json.loads(capsys.readouterr().out)
    assert told["target"] == "lakehouse.t"
    assert (told["counts"]["data_files"], told["counts"]["rows"]) == (1, 1)
    assert main(["table", "maintain", "lakehouse.other", "--home", str(tmp_path)]) == exits.FAILED
    assert "no such table of ours" in capsys.readouterr().out
