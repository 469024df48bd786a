# SPDX-License-Identifier: MIT
# Runs in a guest whose modules count what runs in them (gcov): copies the counts of the modules
# built in folder $1, also of those unloaded since, into folder $2.

cd "/sys/kernel/debug/gcov$1" || exit 1
find . -name '*.gcda' | while read -r file; do
	mkdir -p "$2/${file%/*}" && cat "$file" >"$2/$file" || exit 1
done
