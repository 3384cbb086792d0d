# For /etc/profile.d: a line at login where crash reports wait for an answer; on a terminal only.
if [ -t 1 ] && command -v foretrace >/dev/null 2>&1; then
	foretrace status --login 2>/dev/null
fi
