"""Here so that pytest puts this folder on the path, and tests of every room can import `fakes`."""
