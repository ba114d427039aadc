"""What several test files share: pictures, runners, programs, servers and files that are broken."""
