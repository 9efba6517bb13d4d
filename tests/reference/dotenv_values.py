"""What python-dotenv reads out of a `.env`, for `tests/service/dotenv.rs`.

    python tests/reference/dotenv_values.py --make tests/fixtures/dotenv
        writes the goldens: cases.json (small files) and many.env, many.json (878 variables)
    python tests/reference/dotenv_values.py --random SEED FOLDER
        writes another many.env and many.json
    python tests/reference/dotenv_values.py --available
        ends with 0 where python-dotenv is there

The variable OUTER must be "from outside": it stands for the environment.
"""

import json
import os
import pathlib
import random
import sys
import tempfile

VARIABLES = 878

# One small file each: what people have in theirs.
CASES = [
    ("plain", "A=1\nB=two\n"),
    ("no newline at the end", "A=1"),
    ("blanks around", "  A  =  1  \n\tB\t=\t2\t\n"),
    ("blanks inside", "NAME=Conta padrao do bot\n"),
    ("comments", "# first\nA=1 # one\n   # indented\nB=2#no comment\nC=3\t#tab\n"),
    ("comment right after the sign", "A=#x\nB= #x\nC=a #x #y\n"),
    ("comment after quotes", "A='a' # c\nB=\"b\"#c\nC='#'\n"),
    ("empty", "A=\nB=   \nC=''\nD=\"\"\n"),
    ("no sign", "A\nB=1\nexport C\n"),
    ("single quotes are literal", "A='a\\nb $HOME \"x\" \\'y\\' \\\\'\n"),
    ("double quotes have escapes", 'A="a\\nb\\tc\\"d\\\\e\\$f\\x41\\u0041\\q\\a\\v"\n'),
    ("backslashes without quotes", "A=C:\\dir\\new\nB=a\\\n"),
    ("a quoted backslash at the end", "A='C:\\dir\\'\n"),
    ("a backslash before the quote, and another quote later", "A='C:\\dir\\'\nB='z'\nC=3\n"),
    ("quotes in the middle", "A=sk-a\"b\"c\nB=it's me\nC=a'b'\n"),
    ("multi-line", "A='one\ntwo\n  three'\nB=\"x\ny\"\nC=3\n"),
    ("multi-line with CRLF", "A='one\r\ntwo'\r\nB=2\r\n"),
    ("CR alone", "A=1\rB=2\r"),
    ("export", "export A=1\nexport   B='2'\nexport=3\n\texport\tC=4\n"),
    ("odd keys", "a-b=1\nc.d=2\n1e=3\nf g=4\nA=${a-b}${c.d}${1e}\n"),
    ("quoted keys", "'A'=1\n'B C'=2\n\"D\"=3\n"),
    ("a sign in the value", "URL=postgres://u:p=q@h/db?x=1&y=2\n"),
    ("a dollar", "A=sk-pa$word1\nB=a$$b\nC=$A\nD=pa$\nE=$(date)\nF=`date`\n"),
    ("braces", "A={\"a\": [1, 2]}\nB={a}\nC=$ {A}\n"),
    ("variables", "A=1\nB=${A}2\nC='${A}'\nD=\"${B}${C}\"\n"),
    ("variables that come later or not at all", "A=[${B}]\nB=1\nC=[${NONE}]\n"),
    ("defaults", "A=${NONE:-x y}\nB=${NONE:-}\nC=${OUTER:-z}\nE=\nD=${E:-set to nothing}\nF\nG=[${F:-z}]\n"),
    ("no default after all", "A=${NONE-x}\nB=${NONE:x}\nC=${NONE:=x}\nD=${A\nE=${}\nF=${NONE:-${OUTER}}\n"),
    ("the environment first", "OUTER=file\nA=${OUTER}\n"),
    ("twice", "A=1\nA=2\nB=${A}\nA=3\nC=1\nC\n"),
    ("a lone quote", "MOTD=it's me\nDB_PASSWORD=topsecret1\nOPENAI_API_KEY=sk-topsecret2\n"),
    ("a quote that is not closed", "A='it\nB=2\nC=\"x\nD=4\n"),
    ("a quote that is closed by a later one", "A='it\nB=2'\nC=3\n"),
    ("text after quotes", "A='a' b\nB=\"b\"c\nC=3\n"),
    ("lines that are none", "=x\nA=1\n==\n;;\n[section]\nB: 2\n- C=3\n"),
    ("a password", "P1=correct horse\nP2=a#b\nP3=a #b\nP4='a #b'\nP5=%41&!*()<>|;~\nP6=\\\"x\\\"\n"),
    ("letters of all kinds", "A=ação 🐱\nB='ação 🐱'\nC=\"ação\\n🐱\"\nação=1\nD=${ação}\n"),
    ("odd blanks", "A=x\u00a0\nB=\u00a0x\u00a0#y\nC=x\u2003# y\nD=x\u2028y\nE=x\x0by\n\u00a0F=1\n"),
    ("control characters", "A=x\x1c#y\nB=\x07bell\nC='\x1b[31m'\n"),
    ("blank lines", "\n\n  \n\t\nA=1\n\n\nB=2\n\n"),
    ("JSON", "CLIP_DEFAULT_LABELS_JSON=[\"a cat\", \"a dog\"] # two\nB='[\"a\"]'\n"),
    ("what a compose file would say", "A=\"1\"\nB='2'\nC=3\nD=true\nE=1.0\nF=0x10\n"),
]

WORDS = [
    "plain", "two words", "a#b", "a #b", "it's", "say \"hi\"", "C:\\dir\\new", "a\\", "$word", "$$",
    "pa$", "{a}", "{\"a\": [1]}", "${OUTER}", "${NONE}", "${NONE:-x y}", "${NONE:-}", "${A:b}", "${",
    "ação", "🐱", "%41&!*()<>|;~", "a=b=c", "tab\tinside", "\u00a0", "\u2003", "#", "'", "\"", "=",
    "https://user:pa%24s@host:1/x?y=1&z=2", "sk-pa$word1", "1", "0", "true", "1.0", "-1", "a,b",
]


def many(seed, count):
    """A file with so many variables, of all forms, and lines that are none between them. Some are
    swallowed: by quotes that a broken line opens."""
    dice = random.Random(seed)
    lines, names = [], []

    def value():
        words = dice.choices(WORDS, k=dice.randint(0, 3))
        if names and dice.random() < 0.2:
            words.append("${%s}" % dice.choice(names))
        return dice.choice(["", " "]).join(words)

    def single(text):
        return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"

    def double(text):
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\t", "\\t") + '"'

    while len(names) < count:
        name = f"V{len(names)}"
        form = dice.randint(0, 17)
        if form < 6:
            line = f"{name}={value()}"
        elif form < 8:
            line = f"{name}={single(value())}"
        elif form < 10:
            line = f"{name}={double(value())}"
        elif form == 10:
            line = f"{name}={single(value() + chr(10) + value())}"
        elif form == 11:
            line = f"{name}={double(value() + chr(10) + '#' + value())}"
        elif form == 12:
            line = f"export {name} = {value()}  # {value()}"
        elif form == 13:
            line = dice.choice([name, f"export {name}", f"{name}=", f"{name}= ", f"{name}=''"])
        elif form == 14:
            odd = dice.choice(["k-%d", "k.%d", "%dk", "K-%d.x"]) % len(names)
            line = f"{odd}={single(value())}\n{name}=<${{{odd}}}>"
        elif form == 15 and names:
            again = dice.choice(names)
            line = f"{again}={single(value())}\n{name}=[${{{again}}}]"
        elif form == 16:
            broken = dice.choice(["=x", "two words", "[section]", "X='a' b", "X=\"a\"b", "- y"])
            line = f"{broken}\n{name}={value()}"
        else:
            line = f"\t{name}\t=\t{double(value())} # {value()}"
        names.append(name)
        lines.append(line + dice.choice(["\n", "\n", "\n", "\n\n", "\r\n", " \n", "\n# a comment\n"]))
    return "".join(lines)


def values(data):
    """As `load_dotenv` reads a file of these bytes: None where a variable is only named."""
    from dotenv.main import DotEnv

    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, ".env")
        path.write_bytes(data)
        return dict(DotEnv(path, encoding="utf-8", override=False).dict())


def write_many(seed, folder):
    # Until so many of them are there.
    for count in range(VARIABLES, 2 * VARIABLES, 10):
        data = many(seed, count).encode()
        if len(values(data)) >= VARIABLES:
            break
    pathlib.Path(folder, "many.env").write_bytes(data)
    text = json.dumps(values(data), indent=1, sort_keys=True)
    pathlib.Path(folder, "many.json").write_text(text + "\n")


def main(arguments):
    import dotenv  # noqa: F401  Not there: this ends with 1, and says so.
    import logging

    if arguments == ["--available"]:
        return
    # Lines that cannot be read are meant here.
    logging.disable(logging.WARNING)
    assert os.environ.get("OUTER") == "from outside", "set OUTER to 'from outside'"
    if arguments[0] == "--random":
        write_many(int(arguments[1]), arguments[2])
        return
    assert arguments[0] == "--make"
    folder = arguments[1]
    cases = [
        {"name": name, "text": text, "values": values(text.encode())} for name, text in CASES
    ]
    text = json.dumps(cases, indent=1)
    pathlib.Path(folder, "cases.json").write_text(text + "\n")
    write_many(1, folder)


if __name__ == "__main__":
    main(sys.argv[1:])
