"""Many trials of one question: spaces, samplers, the study, its leaderboard and its report."""
