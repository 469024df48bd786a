#!/bin/sh
# SPDX-License-Identifier: MIT
# Stands in for systemd-udevd and udevadm in the guest. devtmpfs makes the device nodes; all that
# is left to do is to name the virtio ports that virtme-ng's init runs the command on. The last
# port to appear is the one for the exit status.

[ "$1" = --daemon ] || exit 0
mkdir -p /dev/virtio-ports
tries=0
while [ ! -e /dev/virtio-ports/virtme.ret ] && [ $tries -lt 50 ]; do
	for name in /sys/class/virtio-ports/*/name; do
		port=${name%/name}
		read -r label 2>/dev/null <"$name" && [ -n "$label" ] &&
			ln -sf "../${port##*/}" "/dev/virtio-ports/$label"
	done
	[ -e /dev/virtio-ports/virtme.ret ] || sleep 0.1
	tries=$((tries + 1))
done
exit 0
