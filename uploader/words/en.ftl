# English, the language that every other one falls back to.

## What happened.
happened-crash = { $program } crashed{ $where }: { $meaning }.
happened-crash-bare = { $program } crashed{ $where }.
happened-panic = { $program } panicked{ $where }{ $said }.
happened-error = { $program } reported an error and went on{ $said }.
happened-hang = { $program } no longer answered{ $where }.
happened-killed = { $program } was ended from outside by { $signal }.
happened-killed-bare = { $program } was ended from outside.
happened-snapshot = Somebody asked for the state of { $program }{ $said }.
where = {" "}in { $function }
said = : “{ $message }”
at = {" "}at { $address }
meaning = { $words } ({ $signal })
meaning-sent = it was sent the signal by a process
meaning-null = it used an address that points to nothing{ $at }
meaning-segv = it used memory{ $at } that it may not use
meaning-bus = it used memory{ $at } that is not there or badly aligned
meaning-abort = it found an error in itself and gave up
meaning-fpe = a calculation went wrong, such as a division by zero
meaning-ill = it ran an instruction{ $at } that the processor does not know
meaning-trap = it ran into a trap or a failed check
meaning-sys = it made a system call that it may not make
meaning-other = the signal's usual effect is to end a program

## The question at a terminal. No line is longer than 76 columns.
ask = Do you want to send a report of it? Nothing has been sent so far.
ask-destination = It would go to { $destination }.
ask-fixed = This problem is fixed in { $version }: update?
ask-offers = You can choose how much; each line holds those above it:
offer-summary = summary
offer-everything = everything
offer-more = + { $class }
offer-usual = { $offer } (usual)
offer-nothing-more = nothing more
offer-words-summary = program, version, system, what went wrong
offer-words-stack = the functions that each thread was in
offer-words-trail = what the program recorded before it happened
offer-words-logs = lines of the system's logs from that time
offer-words-memory = pieces of its memory: your work may be in it
offer-words-core = all of its memory: your work will be in it
not-carried = This server's protocol cannot carry: { $classes }.
nothing-may-leave = The settings let nothing of it leave.
send-which = Send { $classes }?
comment-is = Your comment goes with it: “{ $comment }”
key-send = send it
key-choose = choose how much
key-preview = preview exactly what would leave
key-comment = add a comment
key-no = do not send it
key-later = ask again later
key-always = send it, and always from { $program }
key-never = never send anything from { $program }
your-answer = Your answer:
choose = How much? A number from 1 to { $last }, or classes such as summary,trail:
comment-ask = Your comment, in one line; it is sent as you write it (empty: none):
comment-long = A comment has at most { $limit } bytes; nothing has changed.
no-answer = No answer: nothing is sent, and you will be asked again.
given-up = Nothing is sent, and you will be asked again.
not-an-answer = That is none of the answers; nothing has changed.

## Words that count as an answer, separated by spaces; the letters are the same in every language.
answers-send = s send y yes
answers-choose = c choose
answers-preview = p preview
answers-comment = m comment
answers-no = n no
answers-later = l later
answers-always = a always
answers-never = v never

## On the desktop, and at login.
notify-title = { $program } stopped working
notify-body = { $happened } Send a report of it to { $destination }? It would hold { $classes } ({ $size }). Nothing has been sent so far.
notify-send = Send
notify-details = Details…
notify-later = Later
notify-answered = Your crash report
notify-thanks = It was sent. Thank you.
notify-waits = It waits and will be tried again. { $why }
notify-terminal = Open a terminal and enter: foretrace send { $id }
agent-already = another foretrace agent asks in this session already
login-waiting = { $count ->
    [one] 1 crash report waits for your answer: foretrace send
   *[other] { $count } crash reports wait for your answer: foretrace send
}

## Names from debug information.
symbols-lack = { $count ->
    [one] 1 frame has no name.
   *[other] { $count } frames have no names.
}
symbols-would-tell = Debug information may name them. These servers would be asked for it:
symbols-told = They would be told the build-ids of these files, and nothing else:
symbols-question = Ask them? (y/n)
symbols-yes = y yes
symbols-not-asked = Nobody was asked.
symbols-how-to-ask = nobody is asked without an answer: foretrace symbols --ask { $id }
symbols-forbidden = the settings let nobody be asked ([Symbols] Debuginfod=no)
symbols-no-server = no server is named: set [Symbols] Debuginfod=https://… in /etc/foretrace.conf, or DEBUGINFOD_URLS
symbols-no-cache = there is no place for debug information: set HOME or XDG_CACHE_HOME
symbols-unknown = no server has its debug information
symbols-complete = No frame lacks a name that debug information could give.
symbols-named = { $named } of { $lacked } frames have names now: foretrace info { $id }
info-named-later = { $count ->
    [one] 1 frame was named later, by debug information from a server.
   *[other] { $count } frames were named later, by debug information from servers.
}
info-nameless = Some frames have no names; servers may know them: foretrace symbols { $id }

## A report explained. The names of facts stand before a colon.
info-report = Report
info-when = When
info-repeated = Repeated
info-more-times = { $count ->
    [one] 1 more time in the same way, the last { $last }
   *[other] { $count } more times in the same way, the last { $last }
}
info-program = Program
info-process = { $program }, process { $pid }
info-file = File
info-signal = Signal
info-code = , code { $code }
info-at = , at { $address }
info-system = System
info-signature = Signature
info-fixed = Fixed
info-fixed-in = in { $version }: update?
info-user = User
info-kept-in = Kept in
info-answer = Answer
info-no-answer = none yet; foretrace preview { $id } shows what would be sent, foretrace send { $id } asks
info-no-answer-foreign = none yet; only its user can answer whether to send it
info-answered = { $answer } by { $who } on { $when }
info-as = {" "}as { $name }
info-where = Where: thread { $thread }
info-thread = Thread { $thread }
info-inside = {" "}({ $tid } inside)
info-threads = { $count } threads in the same place: { $threads }
info-more-threads = { $count ->
    [one] 1 more thread: foretrace info { $id } --json
   *[other] { $count } more threads: foretrace info { $id } --json
}
info-no-frames = no frames could be read
info-more-frames = { $count ->
    [one] and 1 more frame
   *[other] and { $count } more frames
}
frame-handler = (signal handler called)
frame-at = {" "}at { $place }
frame-in = {" "}in { $place }
frame-inlined = {" "}(inlined)
frame-guess = {" "}(a guess)
info-noted = What the program noted about itself
info-personal = {" "}(personal)
info-no-events = The program recorded no events.
info-events-unread = What led to it: no event could be read
info-events = What led to it: the last { $shown } of { $all } events
info-losses = { $recorded } recorded, { $overwritten } of them overwritten by newer ones, { $discarded } could not be recorded
info-cost = recording them took { $bytes }{ $time }
info-cost-time = , about { $time } ms of processor time in all
info-all-events = all of them: foretrace trace { $id }
info-parts = Parts
info-problems = What could not be had
ago-moment = less than a minute ago
ago-minutes = { $count ->
    [one] 1 minute ago
   *[other] { $count } minutes ago
}
ago-hours = { $count ->
    [one] 1 hour ago
   *[other] { $count } hours ago
}
ago-days = { $count ->
    [one] 1 day ago
   *[other] { $count } days ago
}

## What surrounded a program.
info-service = Service
info-container = Container
info-namespaces = Namespaces
info-changed = Changed
info-pressure = Pressure
around-manager = {" "}of the user's own manager
around-slice = , in { $slice }
around-other-root = another root directory
around-image = from { $image }
around-os = with { $os }
around-own = its own { $kinds }
around-inner = ; process { $pid } inside
around-changed = { $files }: not as the package installed
around-more-changed = { $files } and { $count } more: not as the package installed
around-memory = { $one } of { $other } memory available
around-group-memory-of = its group used { $one } of { $other }
around-group-memory = its group used { $used }
around-wait-processors = { $share } % waiting for processors
around-wait-memory = { $share } % waiting for memory
around-wait-disks = { $share } % waiting for disks
around-wait-group = { $share } % waiting for its group's memory
around-killed = { $count ->
    [one] 1 process of its group was killed for want of memory
   *[other] { $count } processes of its group were killed for want of memory
}

## Where a report stands, in a column of 8 letters (the answer) or 10 (the delivery).
state-none = none
state-granted = granted
state-denied = denied
state-revoked = revoked
state-damaged = damaged
state-pending = pending
state-sent = sent
state-maybe-sent = maybe-sent
state-refused = refused

## The list. The columns' titles are eight words.
list-columns = ID TIME PROGRAM WHAT SIZE CONSENT DELIVERY SIGNATURE
list-encrypted = encrypted
list-fixed = fixed in { $version }: update?
list-none = there are no reports; `foretrace status` says whether crashes are caught
list-none-fits = no report fits; `foretrace list` without arguments shows all of them
list-others = and { $count } more in the same way, the last { $last }

## How things stand. Names have at most 8 letters.
status-reports = Reports
status-answers = Answers
status-sending = Sending
status-server = Server
status-crashes = Crashes
status-lost = Lost
status-settings = Settings
status-problem = Problem
status-next-attempt = next attempt { $when }
status-waits-for-network = waits for another network (foretrace send --now does not)
status-leaves-next = leaves with the next foretrace send
status-more-waiting = and { $count } more: foretrace status --json
status-key = Key
status-no-key = none, so your reports lie here in plain: foretrace key --create makes one
status-encrypted = reports are encrypted to yours
status-nothing = nothing yet
status-no-server = none; set Url= in [Upload] of /etc/foretrace.conf
status-caught = caught by foretrace
status-not-caught = not caught by foretrace (the kernel's core_pattern is '{ $pattern }'): run foretrace-coredump install as root
status-unknown = not known: { $file } cannot be read
status-lost-crashes = { $count ->
    [one] at least 1 crash since the machine was started: there were more at once than kernel.core_pipe_limit allows, or no room for the report (the kernel's log says which)
   *[other] at least { $count } crashes since the machine was started: there were more at once than kernel.core_pipe_limit allows, or no room for their reports (the kernel's log says which)
}

## What would leave.
preview-nowhere = nowhere yet: no server is set ([Upload] Url=)
preview-would-leave = Would leave, with { $classes } granted:
preview-to = {"  "}to { $place }
preview-encrypted = {"  "}encrypted to { $key }: only who has its key can read it, not the server
preview-outgoing = In outgoing.zip (sha256 { $digest }):
preview-in = In { $name }:
preview-comment = Your comment, as you wrote it: { $comment }
preview-nothing-removed = No rule found anything to take out.
preview-removed = Taken out by rule:
preview-memory = The minidump's memory and registers hold addresses and small numbers; everything else in them is zero.
preview-core = The core is the program's whole memory as it was: no rule reaches into it.
preview-nothing-stays = Nothing of the report stays here.
preview-stays = Stays here:
preview-summary = summary
preview-backtraces = { $count ->
    [one] 1 backtrace
   *[other] { $count } backtraces
}
preview-annotations = { $count ->
    [one] 1 annotation
   *[other] { $count } annotations
}
preview-problems = { $count ->
    [one] 1 problem
   *[other] { $count } problems
}
preview-message = the program's message
preview-bytes-in = The exact bytes are in { $file }.
preview-bytes = The exact bytes: foretrace preview { $id } -o FILE
preview-failed = It cannot be shown: { $why }
removed-home = home directories, now ~
removed-user = user names, now <user>
removed-host = host names, now <host>
removed-email = e-mail addresses, now pseudonyms
removed-address = network addresses, now pseudonyms
removed-hardware = addresses and numbers of devices, now pseudonyms
removed-private_key = keys in files' form, now <key>
removed-token = tokens and access keys, now <token>
removed-password = passwords and other credentials, now <password>
removed-login = logins in addresses, now <login>
removed-query = secrets in addresses' queries, now <value>
removed-card = card numbers, now <card>
removed-account = bank accounts and personal numbers, now <account>
removed-random = texts that look like keys, now <random>
removed-custom = texts that this machine's settings name, now <hidden>
removed-environment = environment variables
removed-arguments = command line arguments
removed-personal = personal values, now pseudonyms
removed-secret = secret values
removed-memory = words of memory that were no addresses, now zero
removed-register = registers that held no addresses, now zero

## What became of sending.
send-sent = { $id } sent as { $remote }
send-already-sent = { $id } was sent before, as { $remote }
send-not-sent = { $id } not sent{ $why }{ $next }
send-maybe-sent = { $id } may have been sent{ $why }{ $next }
send-waits = { $id } waits{ $why }{ $next } (foretrace send --now { $id } does not wait)
send-refused = { $id } refused by the server{ $why }
send-already-refused = { $id } was refused by the server before{ $why }
send-unanswered = { $id } has no answer yet{ $why }
send-stays = { $id } stays here{ $why }
send-next = ; next attempt { $when }
send-fixed = ; the problem is fixed in { $version }: update?
send-nothing = Nothing to send.
send-unnamed = an unnamed report
send-declined = sending it was declined
send-revoked = the agreement to send it was taken back
send-foreign = it belongs to the user with ID { $uid }, who alone may answer
send-asked-elsewhere = it is asked about elsewhere just now
send-how-to-answer = foretrace consent { $id } --grant trail would send the usual
send-asked-again = you will be asked again
send-busy = another foretrace of yours is sending just now: try again when it has finished
send-as-said = as you said
send-never = nothing of { $program } will be sent; to be asked again: foretrace consent --program { $program } --set ask

## Erasing.
forget-erased = { $id } is erased from this machine.
forget-erased-there = { $id } is erased from this machine and at { $server }.
forget-beyond = It was sent before, and the server's copy is not reached: { $why }.
forget-later = { $id } is kept, because only from here its copy at the server can be erased, and just now it cannot: { $why }.
forget-how = Try again later, or erase it here alone: foretrace forget --here { $id }
forget-here = the server was not asked to erase its copy (--here)
forget-no-receipt = no receipt says where it went
forget-no-erasure = the protocol { $protocol } has no erasure; ask whoever runs { $server }
forget-no-token = the salt from which its token is made is gone
forget-other-receipt = its receipt is for something else
forget-cannot = report { $id } cannot be erased
server-answers = the server answers { $status }

## Comments.
comment-kept = The comment will leave with { $id }, as you wrote it.
comment-removed = { $id } has no comment now.
comment-covered = Your earlier yes covers it.
comment-not-kept = the comment was not kept
comment-none = No comment yet; to add one: foretrace comment { $id } TEXT
comment-too-long = a comment has at most { $limit } bytes; this one has { $bytes }
comment-wrong-length = a comment has between 1 and { $limit } bytes; this one has { $bytes }
comment-cannot-be-taken-back = { $id } was already sent: what its server has cannot be taken back, only erased with the report
comment-nowhere = { $id } was already sent, and no receipt says where: a comment has nowhere to go
comment-not-taken = { $id } was already sent, and { $server } takes no later comment: write to whoever runs it
comment-other-words = the receipt is for other words
comment-sent = The comment on { $id } was sent to { $server }, as you wrote it.
comment-not-sent = the comment was not sent, and is not kept: { $why }
comment-no-report = { $server } has no such report any more
comment-too-many = { $server } takes no more comments just now (status 429)
comment-answers = { $server } answers { $status }

## Answers.
consent-program = For { $program } from now on: { $answer }.
consent-which = which report? Name its ID; `foretrace list` shows them
consent-what = what is the answer for { $id }? Use --grant NAME, --only CLASSES, --deny or --revoke
consent-denied = { $id } will not be sent.
consent-granted = { $id } may be sent to { $server } with { $classes }. Send it with: foretrace send { $id }
consent-no-server = no server is set: name one in /etc/foretrace.conf, [Upload] Url=https://…
consent-sent-before = { $id } was already sent { $when }
consent-earlier = on an earlier day
consent-on = on { $when }
consent-nothing = { $id } has no answer that could be taken back
consent-revoked = The answer for { $id } is taken back; nothing was sent.
consent-revoked-sent = The answer for { $id } is taken back, but the report was sent { $when } as { $remote }: the server still has it.
consent-revoked-doubtful = { $id } will not be tried again, but an earlier try may have reached the server.
consent-locked = the administrator of this machine answers for all programs ([Consent] Lock=yes)
consent-beyond = the administrator of this machine lets nobody send more than '{ $most }' ([Consent] Max=), '{ $asked }' is more
consent-capped = the administrator of this machine lets nobody send more than '{ $most }' ([Consent] Max=): use --grant { $most } at most
consent-without-summary = no server takes a report without its summary: name 'summary' as well
consent-forbidden = the administrator of this machine lets no report leave it ([Consent] Default=never, Lock=yes)
consent-rule-over = the rule that agreed to it ({ $rule }) is no longer in force: answer with `foretrace consent`
consent-warning = { $warning }; move it away first, so that no answer in it is lost
consent-administrator = Administrator: { $answer }, at most { $classes }{ $lock }.
consent-nobody-else = ; nobody else decides
consent-standing = { $program }: { $answer }{ $most }{ $idle }.
consent-most = , at most { $most }
consent-idle = {" "}(not in force: locked by the administrator)
consent-line = { $id } { $program }: { $answer } by { $who } through { $how }, { $when }
consent-line-granted = { $id } { $program }: { $answer } { $classes } for { $server } by { $who } through { $how }, { $when }
consent-prompt = a prompt
consent-notification = a notification
consent-command = a command
consent-policy = a policy ({ $rule })
standing-ask = ask
standing-never = never
standing-always = always
recipient-protocol = { $place }: Recipient= encrypts what leaves, and a server that speaks { $protocol } could not read it: only Protocol=foretrace carries encrypted reports
recipient-wrong = { $place }: Recipient={ $text } is no public key of age's, such as age1…; nothing leaves until it is corrected

## The key.
key-is = Key
key-kept-in = Kept in
key-copy = Keep a copy elsewhere: without it no encrypted report can be read.
key-none = none; to make one: foretrace key --create
key-reports = Reports
key-sealed = { $sealed } encrypted, { $plain } not
key-not-asked = New reports are not encrypted: an administrator has to set Encrypt=yes in [Storage] of /etc/foretrace.conf.
key-not-kept = the key cannot be kept
key-stays = report { $id } stays in plain
key-locked = A passphrase locks it: it is asked for on a terminal when a report is opened.
passphrase-ask = Passphrase of the key in { $file }:
passphrase-wrong = That is not its passphrase.
passphrase-new = New passphrase of the key (empty: none):
passphrase-again = The same once more:
passphrase-differ = those were two different passphrases: nothing is changed
passphrase-given-up = no passphrase was given: nothing is changed
passphrase-no-terminal = a passphrase is asked for on a terminal, and there is none: run this command on one

## Tidying up.
vacuum-age = older than MaxAge= allows
vacuum-use = more than MaxUse= allows
vacuum-free = less free than KeepFree= wants
vacuum-removed = { $id } removed, { $size }: { $why }
vacuum-done = { $removed } removed, { $kept } kept ({ $size })

## Taking reports apart.
dump-no-core = no whole core was kept of this crash; the setting Core=keep keeps them from now on
dump-no-part = this report has no part named '{ $part }'; it has { $parts }
dump-not-for-a-terminal = these bytes are not for a terminal: use -o FILE, or send them into another program
preview-not-for-a-terminal = a zip file does not belong on a terminal: use -o FILE
trace-formats = --json and another --format exclude each other
trace-ctf-where = --format ctf makes a directory: name a new one with -o DIR
trace-ctf-last = --last works with text and json; babeltrace2 cuts a CTF trail with --begin
trace-not-empty = { $directory } exists already and is no empty directory: name a new one
trace-none = this report has no trail: the program recorded no events (it must link foretrace to do so)
trace-none-because = this report has no trail: { $why }
debug-no-minidump = this report has no minidump; `foretrace info` says what it has and why
debug-gdb = no whole core was kept of this crash, and gdb cannot read minidumps: use lldb (on Debian and Ubuntu: apt install lldb)
debug-no-lldb = no lldb is installed, and gdb cannot read minidumps: install it (on Debian and Ubuntu: apt install lldb), or name a debugger with --debugger
debug-not-handed = cannot hand the minidump to the debugger
debug-no-place = there is no place to unpack the core to; set TMPDIR
debug-not-unpacked = the core cannot be unpacked
capture-missing = foretrace-capture is not installed beside foretrace: reinstall foretrace, or name it in FORETRACE_CAPTURE
cannot-write = cannot write { $file }
cannot-make = cannot make the directory { $file }
cannot-start = cannot start { $program }

## What was meant.
find-none = no report's ID starts with '{ $text }'; `foretrace list` shows what there is
find-several = '{ $text }' fits { $count } reports ({ $shown }); give more digits
find-no-id = '{ $text }' is no report ID: an ID is 32 hex digits, or the first few of them
match-field = '{ $text }' is no field to match: use id, pid, program, exe, signal, kind, package, signature or uid
moment-wrong = '{ $text }' is no time: write 2026-05-01, '2026-05-01 12:30', today, yesterday, or a span ago such as 2h
span-wrong = '{ $text }' is no time span: write 5s, 200ms or 2min
no-connection = cannot prepare a connection
make-room = { $why }; make room first: foretrace vacuum removes what the settings no longer allow
redact-wrong = { $place }: Redact={ $pattern }: { $why }; nothing leaves until it is corrected
send-gone = { $file }, the bytes that were agreed to, is gone: answer again with `foretrace consent`
send-no-yes = nobody has agreed to send it
