"""The preview as a web page: who may see it (guard), what is served (server), and the page itself."""
