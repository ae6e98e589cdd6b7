"""The stability study: strategies over several seeds, each training watched to its end in a process of its own."""
