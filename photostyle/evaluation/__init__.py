"""What came out: scores, artefacts, the record beside a picture, sheets and tables for people."""
