"""The documentation as text: the README, docs/ and the pages that link to them."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PAGES = {
    str(path.relative_to(ROOT)): path.read_text()
    for path in [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "training/weights/README.md",
        *sorted((ROOT / "docs").rglob("*.md")),
    ]
}
EVERYTHING = "\n".join(PAGES.values())


def blocks(language: str, text: str) -> list[str]:
    """Return the fenced blocks, also those that are indented in a list."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^\1```", text, re.MULTILINE | re.DOTALL)
    return [re.sub(rf"^{indent}", "", block, flags=re.MULTILINE) for indent, block in found]


def commands(text: str) -> list[str]:
    """Return the shell commands, each on one line and without its comment."""
    joined = "\n".join(blocks("sh", text)).replace("\\\n", " ")
    lines = [re.sub(r"(^|\s+)#.*", "", line).strip() for line in joined.splitlines()]
    return [re.sub(r"\s+", " ", line) for line in lines if line]


def section(page: str, title: str) -> str:
    """Return the text under a heading, up to the next heading."""
    return re.split(r"^#+ ", PAGES[page].partition(f" {title}\n")[2], maxsplit=1, flags=re.M)[0]


def table_rows(text: str) -> list[dict[str, str]]:
    """Return the rows of the first table, each by column title; none: no table."""
    table = re.search(r"(?:^\|.*\|\n)+", text, re.MULTILINE)
    if table is None:
        return []
    lines = [line.strip("| ").split("|") for line in table[0].splitlines()]
    header, _, *rows = ([cell.strip() for cell in line] for line in lines)
    return [dict(zip(header, row, strict=False)) for row in rows]
