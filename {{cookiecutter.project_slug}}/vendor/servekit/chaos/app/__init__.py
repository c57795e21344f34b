"""The library's own application, which cases and benches drive: a catalogue, users, sessions."""
