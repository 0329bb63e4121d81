"""`tallystick gs1`: what it prints, how it ends, and that it needs nothing but the text."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tallystick.cli import cli

GTIN = "09521141123454"
PACK = f"https://id.gs1.org/01/{GTIN}/21/100"


def run(*arguments: str, given: str | bytes | None = None) -> Result:
    return CliRunner().invoke(cli, ["gs1", *arguments], input=given)


def answers(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.output.splitlines()]


@pytest.mark.parametrize(
    ("text", "canonical", "elements"),
    [
        (f"(01){GTIN}(21)100", PACK, {"01": GTIN, "21": "100"}),
        (f"^01{GTIN}21100", PACK, {"01": GTIN, "21": "100"}),
        (f"]d201{GTIN}21100\x1d10L1", PACK, {"01": GTIN, "21": "100", "10": "L1"}),
        (f"https://shop.example/01/{GTIN}/21/100?17=281231", PACK, {"01": GTIN, "21": "100", "17": "281231"}),
        ("urn:epc:id:sgtin:9521141.012345.100", PACK, {"01": GTIN, "21": "100"}),
        ("9521141123454", f"https://id.gs1.org/01/{GTIN}", {"01": GTIN}),
        ("095211410012345677", "https://id.gs1.org/00/095211410012345677", {"00": "095211410012345677"}),
        ("urn:epc:id:gid:95100000.12345.400", "urn:epc:id:gid:95100000.12345.400", {}),
        ("urn:epc:idpat:sgtin:9521141.*.*", None, {}),
        ("(99)ANY", None, {"99": "ANY"}),
    ],
)
def test_parsing_to_json(text: str, canonical: str | None, elements: dict[str, str]) -> None:
    result = run("parse", "--json", text)
    assert result.exit_code == 0
    assert answers(result) == [
        {"input": text, "valid": True, "canonical": canonical, "elements": elements, "fault": None}
    ]


@pytest.mark.parametrize(
    ("text", "code", "start", "length"),
    [
        ("(01)09521141123455", "gs1.check-digit", 17, 1),
        (f"(01){GTIN}(17)281399", "gs1.date", 24, 2),
        ("991234", "gs1.unknown", 0, 6),
        ("", "gs1.unknown", 0, 1),
        ("urn:epc:id:sgtin:9521141.01234.100", "gs1.value", 25, 5),
        ("https://shop.example/about", "gs1.unknown", 20, 6),
    ],
)
def test_a_fault_in_json(text: str, code: str, start: int, length: int) -> None:
    result = run("parse", "--json", text)
    assert result.exit_code == 1
    [answer] = answers(result)
    assert (answer["valid"], answer["canonical"], answer["elements"]) == (False, None, {})
    fault = answer["fault"]
    assert (fault["code"], fault["start"], fault["length"]) == (code, start, length)
    assert fault["detail"]
    assert fault["fix"]


def test_one_bad_one_among_good_ones_decides() -> None:
    result = run("parse", "--json", "9521141123454", "9521141123455", GTIN)
    assert result.exit_code == 1
    assert [answer["valid"] for answer in answers(result)] == [True, False, True]


def test_standard_input_is_read_line_by_line() -> None:
    result = run(
        "parse", "--json", "-", given=f"(01){GTIN}\n\n]d201{GTIN}10A\x1d21B\r\n\xff\n".encode("latin-1")
    )
    assert result.exit_code == 1
    assert [answer["valid"] for answer in answers(result)] == [True, True, False]
    assert answers(result)[1]["elements"] == {"01": GTIN, "10": "A", "21": "B"}


@pytest.mark.parametrize("given", ["", "\n\n"])
def test_nothing_to_read_is_never_a_pass(given: str) -> None:
    assert run("parse", "-", given=given).exit_code == 2
    assert run("parse").exit_code == 2


def test_a_reading_for_people() -> None:
    result = run("parse", f"]d201{GTIN}21100\x1d10L1")
    assert result.exit_code == 0
    lines = [" ".join(line.split()) for line in result.output.splitlines()]
    assert lines == [
        f"]d201{GTIN}21100\u241d10L1",
        "valid scan data with symbology identifier",
        f"(01) GTIN {GTIN}",
        "(21) serial number 100",
        "(10) batch or lot L1",
        f"names {PACK}",
    ]


def test_a_fault_for_people_points_at_the_character() -> None:
    result = run("parse", "-", given=f"\n(01){GTIN}(17)281399\n")
    lines = result.output.splitlines()
    assert result.exit_code == 1
    assert lines[0] == f"line 2: (01){GTIN}(17)281399"
    assert lines[1] == " " * (8 + 24) + "^^"
    assert lines[2].strip() == "gs1.date  (17) expiry date: there is no month 13"
    assert lines[3].strip().startswith("Write dates as YYMMDD")


def test_an_endless_line_is_shown_around_its_fault() -> None:
    result = run("parse", f"(01){GTIN}(10)L" + "(99)A" * 40 + "(89)B" + "(98)C" * 200)
    lines = result.output.splitlines()
    assert max(map(len, lines)) < 500
    assert lines[0][lines[1].index("^") :].startswith("89")


def test_a_terminal_is_never_sent_what_the_text_says() -> None:
    assert "\x1b" not in run("parse", "\x1b[31mred", f"(01){GTIN}(10)\x1b]0;x\x07").output


def test_an_older_spelling_is_invalid_and_still_named() -> None:
    [answer] = answers(run("parse", "--json", "https://shop.example/gtin/9521141123454/ser/100"))
    assert (answer["valid"], answer["canonical"]) == (False, PACK)
    assert PACK in answer["fault"]["fix"]


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [
        (("--to", "dl", "urn:epc:id:sgtin:9521141.012345.100"), PACK),
        (
            ("--to", "dl", "--stem", "https://shop.example/", f"(21)100(01){GTIN}"),
            f"https://shop.example/01/{GTIN}/21/100",
        ),
        (("--to", "urn", "--company-prefix-length", "7", PACK), "urn:epc:id:sgtin:9521141.012345.100"),
        (("--to", "urn", "urn:epc:id:gid:1.2.3"), "urn:epc:id:gid:1.2.3"),
        (("--to", "element-string", PACK), f"(01){GTIN}(21)100"),
        (("--to", "scan", f"(01){GTIN}(21)100(10)L"), f"]d201{GTIN}21100\x1d10L"),
    ],
)
def test_converting(arguments: tuple[str, ...], printed: str) -> None:
    result = run("convert", *arguments)
    assert (result.exit_code, result.stdout) == (0, printed + "\n")


def test_a_compressed_link_comes_back() -> None:
    link = run("convert", "--to", "compressed-dl", PACK).stdout.strip()
    assert run("convert", "--to", "dl", link).stdout.strip() == PACK


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--to", "urn", PACK), "gs1.company-prefix"),
        (("--to", "urn", "--company-prefix-length", "7", "(99)X"), "gs1.no-key"),
        (("--to", "dl", "(99)X"), "gs1.no-key"),
        (("--to", "dl", "urn:epc:id:gid:1.2.3"), "gs1.no-key"),
        (("--to", "element-string", "9521141123455"), "gs1.check-digit"),
        (("--to", "compressed-dl", f"(01){GTIN}(21)1(8030)AbC"), "gs1.compressed"),
    ],
)
def test_what_cannot_be_converted_says_why(arguments: tuple[str, ...], code: str) -> None:
    result = run("convert", *arguments)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert code in result.stderr


def test_the_page_shows_what_is_printed() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs/formats/gs1-identifiers.md").read_text(
        encoding="utf-8"
    )
    [block] = re.findall(r"^```gs1-json\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    texts = [json.loads(line)["input"] for line in block.splitlines()]
    assert run("parse", "--json", *texts).output == block


def test_it_loads_no_server_and_no_ledger() -> None:
    script = (
        "import sys\n"
        f"sys.argv = ['tallystick', 'gs1', 'parse', '(01){GTIN}']\n"
        "from tallystick.cli import main\n"
        "try:\n    main()\nexcept SystemExit as ended:\n    assert ended.code == 0\n"
        "heavy = {'sqlalchemy', 'flask', 'verifier', 'ledger', 'nacl', 'cryptography'} & set(sys.modules)\n"
        "sys.exit(', '.join(sorted(heavy)) or 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
