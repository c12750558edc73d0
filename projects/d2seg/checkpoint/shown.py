"""What a file says, as a message may repeat it: in one line, and in brief."""


def brief(value: object, length: int = 200) -> str:
    """In one line that can be read, whatever it is; of containers, whose text may have no end, the
    kind and the size. What a terminal would act on is escaped."""
    if isinstance(value, list | dict | tuple | set):
        return f"a {type(value).__name__} of {len(value)} values"
    text = " ".join(str(value)[: 2 * length].split())
    text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
    return text if len(text) <= length else f"{text[: length - 3]}..."
