"""The older envelope: one message each way at ``POST /a2a/message``, for systems that speak it."""
