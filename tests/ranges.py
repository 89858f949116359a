"""A file on a web server that is read by range requests, as libraries for tables do it; it counts what it asks for."""

import io
from typing import Any
from urllib.request import Request, urlopen


class RangeFile(io.RawIOBase):
    """The file at an address. `asked` has the number of bytes of each answer."""

    def __init__(self, address: str):
        self.address, self.at = address, 0
        self.asked: list[int] = []
        with urlopen(Request(address, method="HEAD")) as answer:
            self.size = int(answer.headers["Content-Length"])

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self.at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self.at, io.SEEK_END: self.size}[whence]
        return self.at

    def readinto(self, buffer: Any) -> int:
        wanted = min(len(buffer), self.size - self.at)
        if wanted <= 0:
            return 0
        span = {"Range": f"bytes={self.at}-{self.at + wanted - 1}"}
        with urlopen(Request(self.address, headers=span)) as answer:
            assert answer.status == 206
            content = answer.read()
        self.asked.append(len(content))
        buffer[: len(content)] = content
        self.at += len(content)
        return len(content)
