# SPDX-License-Identifier: MIT
# Runs in a guest: the tests of others, from folder $1; what came of each, a line each, goes to
# file $2. Each has the status it ended with, and its own results if it tells any.

programs=$1
results=$2
: >"$results"

run() {
	name=$1
	shift
	timeout 600 "$@" >/tmp/output 2>&1
	echo "$name: status $?" >>"$results"
	sed -nE "/^(not )?ok |SUCCESS|FAIL|SKIP|\[skip/s/^/$name: /p" /tmp/output >>"$results"
}

modprobe vgem
modprobe udmabuf 2>/dev/null
echo 16 >/proc/sys/vm/nr_hugepages
for program in udmabuf dmabuf-heap sync_test ofdlocks; do
	run "$program" "$programs/$program"
done
# Only kernels that are made for it have this one.
run dmabuf_selftests modprobe dmabuf_selftests
for stressor in locka lockf lockofd lockmix flock sync-file; do
	run "stress-ng --$stressor" stress-ng --temp-path /tmp --verify --timeout 5s "--$stressor" 2
done
# Whoever ended has left nothing held.
grep -q ' POSIX \| OFDLCK ' /proc/locks && echo "locks are left" >>"$results"
exit 0
