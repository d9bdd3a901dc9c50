"""What blocks: each call returns when its work is done.

Works in a plain program, in a thread, and inside a running event loop, which
then waits as well. Other threads run on meanwhile, and Ctrl-C is heard.
"""

from castle_py._castle import Lab

__all__ = ["Lab"]
