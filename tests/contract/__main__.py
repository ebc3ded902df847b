"""Write the documents of the contract anew (`make schemas`)."""

from __future__ import annotations

from tests.contract.documents import DOCUMENTS

if __name__ == "__main__":
    for path, text in DOCUMENTS.items():
        path.write_text(text(), "utf-8")
