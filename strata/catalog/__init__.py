"""What is known of backups and runs: manifests, the run ledger, the lease."""
