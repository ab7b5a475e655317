"""Pure decisions: what a backup will do, before anything is done."""
