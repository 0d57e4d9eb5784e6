"""The scheduler's cycle as machine code, for the built-in sequencers and placers. See `scheduler.fast`."""
