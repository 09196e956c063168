"""The world of an episode: what answers a model's turns, in killable workers. No torch, no token: what is made of an
answer's text is `r1lab.rollout.episode`'s."""
