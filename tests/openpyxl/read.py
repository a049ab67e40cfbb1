"""Prints the rows of a workbook of one sheet of rows, from standard input, as lines of JSON: as openpyxl reads them. The first line has
what is to be known of the sheet; what is said of the workbook follows the rows."""

import io
import json
import sys
import warnings

from openpyxl import load_workbook
from openpyxl.utils.escape import unescape

warnings.simplefilter("error")


def said(cell):
    """What a cell is: dates, times and numbers with decimals as pairs of their format and their value."""
    # Neither a formula nor a link nor an error.
    assert cell.data_type in ("n", "s", "inlineStr", "d", "b"), (cell.coordinate, cell.data_type)
    assert cell.hyperlink is None, cell.coordinate
    if cell.data_type == "d":
        return [cell.number_format, cell.value.isoformat(sep=" ") if hasattr(cell.value, "year") else cell.value.isoformat()]
    if cell.data_type == "n" and cell.number_format.startswith("0."):
        return [cell.number_format, cell.value]
    # openpyxl leaves the format's own escapes to its users.
    return unescape(cell.value) if isinstance(cell.value, str) else cell.value


workbook = load_workbook(io.BytesIO(sys.stdin.buffer.read()))
[sheet, about] = workbook.worksheets
[table] = sheet.tables.values()
assert sheet.auto_filter.ref is None and table.autoFilter.ref == table.ref
assert [column.name for column in table.tableColumns] == [unescape(cell.value) for cell in sheet[1]]
print(json.dumps([sheet.title, sheet["A1"].font.b, sheet.freeze_panes, table.displayName, table.ref, sheet.print_title_rows]))
for row in sheet.iter_rows():
    print(json.dumps([said(cell) for cell in row]))
print(json.dumps([about.title]))
for row in about.iter_rows():
    print(json.dumps([said(cell) for cell in row]))
