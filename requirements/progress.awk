# What people want to see of pip: large files as they come, the installation, and errors.
/^ *(Downloading|Using cached) .*\([0-9.]+ [MG]B\)/ { n = split($2, path, "/"); print "  " path[n] " " $(NF - 1) " " $NF; fflush() }
/^Installing collected packages/ { print "  installing " NF - 3 " packages"; fflush() }
/^(ERROR|WARNING: Retrying|error)/ { print; fflush() }
