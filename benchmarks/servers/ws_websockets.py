"""The `websockets` library's asyncio server, compression off as the clients offer none. python ws_websockets.py PORT"""

import asyncio
import sys

from websockets.asyncio.server import serve


async def echo(connection):
    async for message in connection:
        await connection.send(message)


async def main():
    async with serve(echo, "127.0.0.1", int(sys.argv[1]), backlog=8192, compression=None) as server:
        await server.serve_forever()


asyncio.run(main())
