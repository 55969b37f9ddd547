"""Where formulas hold, what values they take, and at which sizes one is no less than another."""
