"""The engine that samples with vLLM in this process. Written against vLLM 0.32."""
