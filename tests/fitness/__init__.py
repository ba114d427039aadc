"""Test-only methods of six families, each in one short file: what a new family costs."""
