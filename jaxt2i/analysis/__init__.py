"""Looking at what a tokenizer has learnt: numbers in `latents`, pictures of them in `figures`."""
