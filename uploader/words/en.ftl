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
