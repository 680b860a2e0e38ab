"""`barograph reference`: list the periods that performance is compared with, and choose one."""
