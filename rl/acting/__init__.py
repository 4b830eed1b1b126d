"""Acting: rollout workers that step environments, and the policy that chooses their actions."""
