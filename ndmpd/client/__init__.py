"""The DMA side: a client library and the ndmpc command."""
