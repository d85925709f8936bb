"""What several tests share: no test file is imported by another."""
