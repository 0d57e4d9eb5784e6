"""What `berth doctor` looks at: `checks` (what a finding is), `node` (any machine), `manager` (where a manager lives)."""
