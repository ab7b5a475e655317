"""Where sealed bytes rest: stores and the spool, behind one port."""
