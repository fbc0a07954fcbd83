# Prints the first ```cpp block of a Markdown file.
/^```/ && inside { exit }
inside { print }
/^```cpp/ { inside = 1; found = 1 }
END { if (!found) { print "no ```cpp block in " FILENAME > "/dev/stderr"; exit 1 } }
