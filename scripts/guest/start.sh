# SPDX-License-Identifier: MIT
# Runs in the guest as root, started by virtme-ng's init. vm.py puts assignments in front:
#   mounts     lines of "TAG ACCESS PATH": folders of the host, to appear at the same path
#   cache      how 9p is to cache these folders
#   modules    names of the modules to load, in this order
#   project    the project folder
#   command    what the user wants to run; its exit status is the guest's
# and exports variables for the command, among them DMABUF_SYNC_MODULES: the folder with
# NAME/NAME.ko of every module.

fail() {
	echo "guest: $*" >&2
	dmesg | tail -n 20 >&2
	exit 125
}

# Where nothing of the root is configured yet.
[ -e /etc/ld.so.cache ] || ldconfig

mount -t tmpfs -o mode=1777 tmpfs /tmp
mount -t tmpfs -o mode=0700 tmpfs /root
mountpoint -q /sys/kernel/debug || mount -t debugfs debugfs /sys/kernel/debug
mountpoint -q /sys/kernel/tracing || mount -t tracefs tracefs /sys/kernel/tracing

while read -r tag access path; do
	mkdir -p "$path" &&
		mount -t 9p -o "trans=virtio,version=9p2000.L,msize=512000,cache=$cache,$access" "$tag" "$path" ||
		fail "cannot mount $path"
done <<END
$mounts
END

cd "$project" || fail "no $project"

folder=$DMABUF_SYNC_MODULES
for module in $modules; do
	file=$folder/$module/$module.ko
	for other in $(modinfo -F depends "$file" | tr ',' ' '); do
		# Those of ours come in the right order by themselves.
		[ -e "$folder/$other" ] || modprobe "$other" || fail "cannot load $other"
	done
	insmod "$file" || fail "cannot load $module"
done

echo "guest: the command starts" >/dev/kmsg
# Not exec: a command killed by a signal has a status too.
sh -c "$command"
status=$?
sync -f "$project"
exit $status
