//! The embedded event log: journal, memory and chunks on SQLite (DESIGN §2, §6).
