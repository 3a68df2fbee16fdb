"""Records of what compiled kernels need, and the tables of them in kernels/README.md."""

from pathlib import Path

README = Path(__file__).with_name("README.md")


def readme_with(record: Path, table: str) -> str:
    """README.md with this table between the marks that name its record."""
    begin, end = f"<!-- {record.name} -->", f"<!-- end of {record.name} -->"
    before, rest = README.read_text().split(begin)
    return f"{before}{begin}\n{table}\n{end}{rest.split(end)[1]}"
