"""Prints the rows of a workbook's only sheet, from standard input, as lines of JSON: as openpyxl reads them."""

import io
import json
import sys

from openpyxl import load_workbook
from openpyxl.utils.escape import unescape

workbook = load_workbook(io.BytesIO(sys.stdin.buffer.read()))
[sheet] = workbook.worksheets
header, below = sheet["A1"], sheet.freeze_panes
print(json.dumps([sheet.title, header.font.b, below, sheet.auto_filter.ref]))
for row in sheet.iter_rows():
    for cell in row:
        # Neither a formula nor a link, a date, an error or a truth.
        assert cell.data_type in ("n", "s", "inlineStr"), (cell.coordinate, cell.data_type)
        assert cell.hyperlink is None, cell.coordinate
    # openpyxl leaves the format's own escapes to its users.
    print(json.dumps([unescape(cell.value) if isinstance(cell.value, str) else cell.value for cell in row]))
