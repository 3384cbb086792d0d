# Deutsch

## Was geschehen ist.
happened-crash = { $program } ist abgestürzt{ $where }: { $meaning }.
happened-crash-bare = { $program } ist abgestürzt{ $where }.
happened-panic = { $program } hat sich mit einem Fehler beendet{ $where }{ $said }.
happened-error = { $program } hat einen Fehler gemeldet und lief weiter{ $said }.
happened-hang = { $program } hat nicht mehr geantwortet{ $where }.
happened-killed = { $program } wurde von außen durch { $signal } beendet.
happened-killed-bare = { $program } wurde von außen beendet.
happened-snapshot = Jemand wollte den Zustand von { $program } wissen{ $said }.
where = {" "}in { $function }
said = : „{ $message }“
at = {" "}bei { $address }
meaning = { $words } ({ $signal })
meaning-sent = ein Prozess hat ihm das Signal geschickt
meaning-null = es griff{ $at } auf Speicher zu, den es nicht gibt
meaning-segv = es benutzte Speicher{ $at }, den es nicht benutzen darf
meaning-bus = es benutzte Speicher{ $at }, den es nicht gibt oder der falsch ausgerichtet ist
meaning-abort = es fand einen Fehler in sich selbst und gab auf
meaning-fpe = eine Rechnung ging schief, etwa eine Teilung durch null
meaning-ill = es führte einen Befehl{ $at } aus, den der Prozessor nicht kennt
meaning-trap = es lief in eine Falle oder eine gescheiterte Prüfung
meaning-sys = es machte einen Systemaufruf, den es nicht machen darf
meaning-other = das Signal beendet ein Programm gewöhnlich

## Die Frage am Terminal. Keine Zeile ist länger als 76 Spalten.
ask = Möchten Sie einen Bericht darüber senden? Bisher wurde nichts gesendet.
ask-destination = Er ginge an { $destination }.
ask-fixed = Dieser Fehler ist in { $version } behoben: aktualisieren?
ask-offers = Sie bestimmen, wie viel; jede Zeile enthält die darüber:
offer-summary = Überblick
offer-everything = alles
offer-more = + { $class }
offer-usual = { $offer } (üblich)
offer-nothing-more = nicht mehr
offer-words-summary = Programm, Version, System, und was geschah
offer-words-stack = die Funktionen, in denen jeder Thread war
offer-words-trail = was das Programm davor aufgezeichnet hat
offer-words-logs = Zeilen der Systemprotokolle aus dieser Zeit
offer-words-memory = Teile des Speichers: vielleicht Ihre Arbeit
offer-words-core = sein ganzer Speicher, mit Ihrer Arbeit darin
not-carried = Das Protokoll dieses Servers befördert nicht: { $classes }.
nothing-may-leave = Die Einstellungen lassen nichts davon fort.
send-which = { $classes } senden?
comment-is = Ihr Kommentar geht mit: „{ $comment }“
key-send = senden
key-choose = wählen, wie viel
key-preview = genau zeigen, was fortginge
key-comment = etwas dazu schreiben
key-no = nicht senden
key-later = später wieder fragen
key-always = senden, und künftig immer von { $program }
key-never = nie etwas von { $program } senden
your-answer = Ihre Antwort:
choose = Wie viel? Eine Zahl von 1 bis { $last } oder Klassen, etwa summary,trail:
comment-ask = Ihr Kommentar in einer Zeile; er geht so hinaus (leer: keiner):
comment-long = Ein Kommentar hat höchstens { $limit } Bytes; nichts ist geändert.
no-answer = Keine Antwort: nichts wird gesendet, Sie werden wieder gefragt.
given-up = Nichts wird gesendet, Sie werden wieder gefragt.
not-an-answer = Das ist keine der Antworten; nichts ist geändert.

## Wörter, die als Antwort gelten.
answers-send = s senden j ja send y yes
answers-choose = c wählen choose
answers-preview = p vorschau zeigen preview
answers-comment = m kommentar comment
answers-no = n nein no
answers-later = l später later
answers-always = a immer always
answers-never = v nie never

## Auf dem Desktop und beim Anmelden.
notify-title = { $program } funktioniert nicht mehr
notify-body = { $happened } Einen Bericht darüber an { $destination } senden? Er enthielte { $classes } ({ $size }). Bisher wurde nichts gesendet.
notify-send = Senden
notify-details = Genauer…
notify-later = Später
notify-answered = Ihr Absturzbericht
notify-thanks = Er wurde gesendet. Vielen Dank.
notify-waits = Er wartet und wird wieder versucht. { $why }
notify-terminal = Öffnen Sie ein Terminal und geben Sie ein: foretrace send { $id }
agent-already = ein anderer foretrace agent fragt in dieser Sitzung schon
login-waiting = { $count ->
    [one] 1 Absturzbericht wartet auf Ihre Antwort: foretrace send
   *[other] { $count } Absturzberichte warten auf Ihre Antwort: foretrace send
}

## Namen aus Debug-Informationen.
symbols-lack = { $count ->
    [one] 1 Aufruf hat keinen Namen.
   *[other] { $count } Aufrufe haben keine Namen.
}
symbols-would-tell = Debug-Informationen können sie benennen. Diese Server würden danach gefragt:
symbols-told = Sie erführen die Build-IDs dieser Dateien und sonst nichts:
symbols-question = Fragen? (j/n)
symbols-yes = j ja y yes
symbols-not-asked = Niemand wurde gefragt.
symbols-how-to-ask = ohne Antwort wird niemand gefragt: foretrace symbols --ask { $id }
symbols-forbidden = die Einstellungen lassen niemanden fragen ([Symbols] Debuginfod=no)
symbols-no-server = kein Server ist genannt: setzen Sie [Symbols] Debuginfod=https://… in /etc/foretrace.conf oder DEBUGINFOD_URLS
symbols-no-cache = für Debug-Informationen fehlt ein Ort: setzen Sie HOME oder XDG_CACHE_HOME
symbols-unknown = kein Server hat seine Debug-Informationen
symbols-complete = Keinem Aufruf fehlt ein Name, den Debug-Informationen geben könnten.
symbols-named = { $named } von { $lacked } Aufrufen haben jetzt Namen: foretrace info { $id }
info-named-later = { $count ->
    [one] 1 Aufruf wurde später benannt, mit Debug-Informationen von einem Server.
   *[other] { $count } Aufrufe wurden später benannt, mit Debug-Informationen von Servern.
}
info-nameless = Einige Aufrufe haben keine Namen; Server kennen sie vielleicht: foretrace symbols { $id }

## Ein Bericht, erklärt. Die Namen der Angaben stehen vor einem Doppelpunkt.
info-report = Bericht
info-when = Wann
info-repeated = Erneut
info-more-times = { $count ->
    [one] noch 1 Mal auf dieselbe Weise, zuletzt { $last }
   *[other] noch { $count } Mal auf dieselbe Weise, zuletzt { $last }
}
info-program = Programm
info-process = { $program }, Prozess { $pid }
info-file = Datei
info-signal = Signal
info-code = , Code { $code }
info-at = , bei { $address }
info-system = System
info-signature = Signatur
info-fixed = Behoben
info-fixed-in = in { $version }: aktualisieren?
info-user = Benutzer
info-kept-in = Liegt in
info-answer = Antwort
info-no-answer = noch keine; foretrace preview { $id } zeigt, was gesendet würde, foretrace send { $id } fragt
info-no-answer-foreign = noch keine; nur sein Benutzer kann antworten, ob er gesendet wird
info-answered = { $answer }, von { $who } am { $when }
info-as = {" "}als { $name }
info-where = Wo: Thread { $thread }
info-thread = Thread { $thread }
info-inside = {" "}(innen { $tid })
info-threads = { $count } Threads an derselben Stelle: { $threads }
info-more-threads = { $count ->
    [one] 1 weiterer Thread: foretrace info { $id } --json
   *[other] { $count } weitere Threads: foretrace info { $id } --json
}
info-no-frames = kein Aufruf war zu lesen
info-more-frames = { $count ->
    [one] und 1 weiterer Aufruf
   *[other] und { $count } weitere Aufrufe
}
frame-handler = (Signalbehandlung aufgerufen)
frame-at = {" "}in { $place }
frame-in = {" "}in { $place }
frame-inlined = {" "}(eingesetzt)
frame-guess = {" "}(geraten)
info-noted = Was das Programm über sich notiert hat
info-personal = {" "}(persönlich)
info-no-events = Das Programm hat keine Ereignisse aufgezeichnet.
info-events-unread = Was dazu führte: kein Ereignis war zu lesen
info-events = Was dazu führte: die letzten { $shown } von { $all } Ereignissen
info-losses = { $recorded } aufgezeichnet, davon { $overwritten } von neueren überschrieben; { $discarded } waren nicht aufzuzeichnen
info-cost = sie aufzuzeichnen brauchte { $bytes }{ $time }
info-cost-time = , etwa { $time } ms Prozessorzeit im Ganzen
info-all-events = alle: foretrace trace { $id }
info-parts = Teile
info-problems = Was nicht zu haben war
ago-moment = vor weniger als einer Minute
ago-minutes = { $count ->
    [one] vor 1 Minute
   *[other] vor { $count } Minuten
}
ago-hours = { $count ->
    [one] vor 1 Stunde
   *[other] vor { $count } Stunden
}
ago-days = { $count ->
    [one] vor 1 Tag
   *[other] vor { $count } Tagen
}

## Was ein Programm umgab.
info-service = Dienst
info-container = Container
info-namespaces = Namespaces
info-changed = Geändert
info-pressure = Last
around-manager = {" "}von der Dienstverwaltung des Benutzers
around-slice = , in { $slice }
around-other-root = ein anderes Wurzelverzeichnis
around-image = aus { $image }
around-os = mit { $os }
around-own = eigene: { $kinds }
around-inner = ; innen Prozess { $pid }
around-changed = { $files }: nicht so, wie das Paket es installiert hat
around-more-changed = { $files } und { $count } weitere: nicht so, wie das Paket sie installiert hat
around-memory = { $one } von { $other } Speicher verfügbar
around-group-memory-of = seine Gruppe benutzte { $one } von { $other }
around-group-memory = seine Gruppe benutzte { $used }
around-wait-processors = { $share } % Warten auf Prozessoren
around-wait-memory = { $share } % Warten auf Speicher
around-wait-disks = { $share } % Warten auf Datenträger
around-wait-group = { $share } % Warten auf den Speicher seiner Gruppe
around-killed = { $count ->
    [one] 1 Prozess seiner Gruppe wurde aus Mangel an Speicher beendet
   *[other] { $count } Prozesse seiner Gruppe wurden aus Mangel an Speicher beendet
}

## Wo ein Bericht steht, in einer Spalte von 8 Buchstaben (die Antwort) oder 10 (der Versand).
state-none = offen
state-granted = ja
state-denied = nein
state-revoked = entzogen
state-damaged = defekt
state-pending = wartet
state-sent = gesendet
state-maybe-sent = ungewiss
state-refused = abgelehnt

## Die Liste. Die Titel der Spalten sind acht Wörter.
list-columns = ID ZEIT PROGRAMM WAS GRÖSSE ANTWORT VERSAND SIGNATUR
list-encrypted = verschlüsselt
list-fixed = in { $version } behoben: aktualisieren?
list-none = es gibt keine Berichte; `foretrace status` sagt, ob Abstürze aufgefangen werden
list-none-fits = kein Bericht passt; `foretrace list` ohne Angaben zeigt alle
list-others = und noch { $count } auf dieselbe Weise, zuletzt { $last }

## Wie es steht. Die Namen haben höchstens 8 Buchstaben.
status-reports = Berichte
status-answers = Antwort
status-sending = Versand
status-server = Server
status-crashes = Abstürze
status-lost = Verloren
status-settings = Regeln
status-problem = Problem
status-next-attempt = nächster Versuch { $when }
status-waits-for-network = wartet auf ein anderes Netz (foretrace send --now wartet nicht)
status-leaves-next = geht mit dem nächsten foretrace send fort
status-more-waiting = und noch { $count }: foretrace status --json
status-key = Schutz
status-no-key = ohne Schlüssel, Ihre Berichte liegen deshalb im Klartext hier: foretrace key --create legt einen an
status-encrypted = Berichte werden mit Ihrem Schlüssel verschlüsselt
status-nothing = noch nichts
status-no-server = keiner; setzen Sie Url= in [Upload] von /etc/foretrace.conf
status-caught = werden von foretrace aufgefangen
status-not-caught = werden nicht von foretrace aufgefangen (core_pattern des Kernels ist „{ $pattern }“): rufen Sie als root foretrace-coredump install auf
status-unknown = nicht bekannt: { $file } ist nicht zu lesen
status-lost-crashes = { $count ->
    [one] mindestens 1 Absturz seit dem Start des Rechners: es waren mehr auf einmal, als kernel.core_pipe_limit erlaubt, oder es war kein Platz für den Bericht (das Protokoll des Kernels sagt, was davon)
   *[other] mindestens { $count } Abstürze seit dem Start des Rechners: es waren mehr auf einmal, als kernel.core_pipe_limit erlaubt, oder es war kein Platz für ihre Berichte (das Protokoll des Kernels sagt, was davon)
}

## Was fortginge.
preview-nowhere = noch niemanden, denn kein Server ist eingestellt ([Upload] Url=)
preview-would-leave = Mit { $classes } ginge fort:
preview-to = {"  "}an: { $place }
preview-encrypted = {"  "}verschlüsselt für { $key }: nur wer den Schlüssel dazu hat, kann es lesen, der Server nicht
preview-outgoing = In outgoing.zip (sha256 { $digest }):
preview-in = In { $name }:
preview-comment = Ihr Kommentar, wie Sie ihn geschrieben haben: { $comment }
preview-nothing-removed = Keine Regel hat etwas gefunden, das herauszunehmen wäre.
preview-removed = Herausgenommen, nach Regeln:
preview-memory = Speicher und Register im Minidump enthalten Adressen und kleine Zahlen; alles andere darin ist null.
preview-core = Der Core ist der ganze Speicher des Programms, wie er war: keine Regel reicht hinein.
preview-nothing-stays = Nichts vom Bericht bleibt hier.
preview-stays = Hier bleibt:
preview-summary = Überblick
preview-backtraces = { $count ->
    [one] 1 Aufrufliste
   *[other] { $count } Aufruflisten
}
preview-annotations = { $count ->
    [one] 1 Notiz
   *[other] { $count } Notizen
}
preview-problems = { $count ->
    [one] 1 Problem
   *[other] { $count } Probleme
}
preview-message = die Meldung des Programms
preview-bytes-in = Die genauen Bytes stehen in { $file }.
preview-bytes = Die genauen Bytes: foretrace preview { $id } -o DATEI
preview-failed = Es kann nicht gezeigt werden: { $why }
removed-home = Home-Verzeichnisse, jetzt ~
removed-user = Namen von Benutzern, jetzt <user>
removed-host = Namen von Rechnern, jetzt <host>
removed-email = E-Mail-Adressen, jetzt Pseudonyme
removed-address = Netzwerkadressen, jetzt Pseudonyme
removed-hardware = Adressen und Nummern von Geräten, jetzt Pseudonyme
removed-private_key = Schlüssel in Dateiform, jetzt <key>
removed-token = Token und Zugangsschlüssel, jetzt <token>
removed-password = Passwörter und andere Zugangsdaten, jetzt <password>
removed-login = Anmeldungen in Adressen, jetzt <login>
removed-query = Geheimnisse in Anfragen von Adressen, jetzt <value>
removed-card = Kartennummern, jetzt <card>
removed-account = Konten und persönliche Nummern, jetzt <account>
removed-random = Texte, die wie Schlüssel aussehen, jetzt <random>
removed-custom = Texte, die die Einstellungen dieses Rechners nennen, jetzt <hidden>
removed-environment = Umgebungsvariablen
removed-arguments = Argumente der Befehlszeile
removed-personal = persönliche Werte, jetzt Pseudonyme
removed-secret = geheime Werte
removed-memory = Speicherwörter, die keine Adressen waren, jetzt null
removed-register = Register, die keine Adressen enthielten, jetzt null

## Was aus dem Senden wurde.
send-sent = { $id } gesendet als { $remote }
send-already-sent = { $id } wurde schon gesendet, als { $remote }
send-not-sent = { $id } nicht gesendet{ $why }{ $next }
send-maybe-sent = { $id } ist vielleicht gesendet{ $why }{ $next }
send-waits = { $id } wartet{ $why }{ $next } (foretrace send --now { $id } wartet nicht)
send-refused = { $id } vom Server abgelehnt{ $why }
send-already-refused = { $id } wurde vom Server schon abgelehnt{ $why }
send-unanswered = { $id } hat noch keine Antwort{ $why }
send-stays = { $id } bleibt hier{ $why }
send-next = ; nächster Versuch { $when }
send-fixed = ; der Fehler ist in { $version } behoben: aktualisieren?
send-nothing = Es gibt nichts zu senden.
send-unnamed = Bericht ohne Namen
send-declined = das Senden wurde abgelehnt
send-revoked = die Einwilligung wurde zurückgenommen
send-foreign = er gehört dem Benutzer mit der ID { $uid }, nur dieser kann antworten
send-asked-elsewhere = danach wird gerade anderswo gefragt
send-how-to-answer = foretrace consent { $id } --grant trail würde das Übliche senden
send-asked-again = Sie werden wieder gefragt
send-busy = ein anderes foretrace von Ihnen sendet gerade: versuchen Sie es wieder, wenn es fertig ist
send-as-said = wie Sie gesagt haben
send-never = nichts von { $program } wird gesendet; um wieder gefragt zu werden: foretrace consent --program { $program } --set ask

## Löschen.
forget-erased = { $id } ist auf diesem Rechner gelöscht.
forget-erased-there = { $id } ist auf diesem Rechner und bei { $server } gelöscht.
forget-beyond = Der Bericht wurde schon gesendet, und die Kopie des Servers ist nicht zu erreichen: { $why }.
forget-later = { $id } bleibt hier, denn nur von hier aus lässt sich seine Kopie beim Server löschen, und das geht gerade nicht: { $why }.
forget-how = Versuchen Sie es später wieder, oder löschen Sie ihn nur hier: foretrace forget --here { $id }
forget-here = der Server wurde nicht gebeten, seine Kopie zu löschen (--here)
forget-no-receipt = kein Beleg sagt, wohin er ging
forget-no-erasure = das Protokoll { $protocol } kennt kein Löschen; fragen Sie, wer { $server } betreibt
forget-no-token = das Salz, aus dem sein Token entsteht, ist nicht mehr da
forget-other-receipt = sein Beleg gilt für etwas anderes
forget-cannot = Bericht { $id } lässt sich nicht löschen
server-answers = der Server antwortet { $status }

## Kommentare.
comment-kept = Der Kommentar geht mit { $id } hinaus, wie Sie ihn geschrieben haben.
comment-removed = { $id } hat jetzt keinen Kommentar.
comment-covered = Ihr früheres Ja gilt auch für ihn.
comment-not-kept = der Kommentar wurde nicht behalten
comment-none = Noch kein Kommentar; so schreiben Sie einen: foretrace comment { $id } TEXT
comment-too-long = ein Kommentar hat höchstens { $limit } Bytes; dieser hat { $bytes }
comment-wrong-length = ein Kommentar hat zwischen 1 und { $limit } Bytes; dieser hat { $bytes }
comment-cannot-be-taken-back = { $id } wurde schon gesendet: was der Server hat, lässt sich nicht zurücknehmen, nur mit dem Bericht löschen
comment-nowhere = { $id } wurde schon gesendet, und kein Beleg sagt, wohin: es gibt keinen Ort für einen Kommentar
comment-not-taken = { $id } wurde schon gesendet, und { $server } nimmt keinen späteren Kommentar an: schreiben Sie an den, der ihn betreibt
comment-other-words = der Beleg gilt für einen anderen Text
comment-sent = Der Kommentar zu { $id } wurde an { $server } gesendet, wie Sie ihn geschrieben haben.
comment-not-sent = der Kommentar wurde nicht gesendet und wird nicht behalten: { $why }
comment-no-report = { $server } hat diesen Bericht nicht mehr
comment-too-many = { $server } nimmt gerade keine weiteren Kommentare an (Status 429)
comment-answers = { $server } antwortet { $status }

## Antworten.
consent-program = Für { $program } gilt von jetzt an: { $answer }.
consent-which = welcher Bericht? Nennen Sie seine ID; `foretrace list` zeigt sie
consent-what = wie lautet die Antwort für { $id }? Nehmen Sie --grant NAME, --only KLASSEN, --deny oder --revoke
consent-denied = { $id } wird nicht gesendet.
consent-granted = { $id } darf an { $server } gesendet werden, mit { $classes }. Senden: foretrace send { $id }
consent-no-server = kein Server ist eingestellt: nennen Sie einen in /etc/foretrace.conf, [Upload] Url=https://…
consent-sent-before = { $id } wurde schon gesendet, { $when }
consent-earlier = an einem früheren Tag
consent-on = am { $when }
consent-nothing = { $id } hat keine Antwort, die sich zurücknehmen ließe
consent-revoked = Die Antwort für { $id } ist zurückgenommen; nichts wurde gesendet.
consent-revoked-sent = Die Antwort für { $id } ist zurückgenommen, aber der Bericht wurde { $when } als { $remote } gesendet: der Server hat ihn noch.
consent-revoked-doubtful = { $id } wird nicht wieder versucht, aber ein früherer Versuch hat den Server vielleicht erreicht.
consent-locked = für alle Programme antwortet, wer diesen Rechner verwaltet ([Consent] Lock=yes)
consent-beyond = wer diesen Rechner verwaltet, lässt niemanden mehr als „{ $most }“ senden ([Consent] Max=), „{ $asked }“ ist mehr
consent-capped = wer diesen Rechner verwaltet, lässt niemanden mehr als „{ $most }“ senden ([Consent] Max=): nehmen Sie höchstens --grant { $most }
consent-without-summary = kein Server nimmt einen Bericht ohne Überblick: nennen Sie auch „summary“
consent-forbidden = wer diesen Rechner verwaltet, lässt keinen Bericht hinaus ([Consent] Default=never, Lock=yes)
consent-rule-over = die Regel, die zugestimmt hat ({ $rule }), gilt nicht mehr: antworten Sie mit `foretrace consent`
consent-warning = { $warning }; legen Sie die Datei zuerst beiseite, damit keine Antwort darin verloren geht
consent-administrator = Verwaltung: { $answer }, höchstens { $classes }{ $lock }.
consent-nobody-else = ; niemand sonst entscheidet
consent-standing = { $program }: { $answer }{ $most }{ $idle }.
consent-most = , höchstens { $most }
consent-idle = {" "}(gilt nicht: von der Verwaltung gesperrt)
consent-line = { $id } { $program }: { $answer }, von { $who } durch { $how }, { $when }
consent-line-granted = { $id } { $program }: { $answer }, { $classes } für { $server }, von { $who } durch { $how }, { $when }
consent-prompt = eine Frage am Terminal
consent-notification = eine Benachrichtigung
consent-command = einen Befehl
consent-policy = eine Regel ({ $rule })
standing-ask = fragen
standing-never = nie
standing-always = immer
recipient-protocol = { $place }: Recipient= verschlüsselt, was hinausgeht, und ein Server, der { $protocol } spricht, könnte es nicht lesen: nur Protocol=foretrace befördert verschlüsselte Berichte
recipient-wrong = { $place }: Recipient={ $text } ist kein öffentlicher Schlüssel von age, wie etwa age1…; bis das berichtigt ist, geht nichts hinaus

## Der Schlüssel.
key-is = Schlüssel
key-kept-in = Liegt in
key-copy = Bewahren Sie anderswo eine Kopie auf: ohne ihn ist kein verschlüsselter Bericht zu lesen.
key-none = keiner; so legen Sie einen an: foretrace key --create
key-reports = Berichte
key-sealed = { $sealed } verschlüsselt, { $plain } nicht
key-not-asked = Neue Berichte werden nicht verschlüsselt: dazu muss Encrypt=yes in [Storage] von /etc/foretrace.conf stehen.
key-not-kept = der Schlüssel lässt sich nicht ablegen
key-stays = Bericht { $id } bleibt unverschlüsselt
key-locked = Er ist mit einer Passphrase gesichert; am Terminal wird danach gefragt, wenn ein Bericht geöffnet wird.
passphrase-ask = Passphrase des Schlüssels in { $file }:
passphrase-wrong = Das ist nicht seine Passphrase.
passphrase-new = Neue Passphrase des Schlüssels (leer: keine):
passphrase-again = Dieselbe noch einmal:
passphrase-differ = das waren zwei verschiedene Passphrasen: nichts ist geändert
passphrase-given-up = es wurde keine Passphrase eingegeben: nichts ist geändert
passphrase-no-terminal = nach einer Passphrase wird am Terminal gefragt, und hier ist keines: rufen Sie den Befehl an einem auf

## Aufräumen.
vacuum-age = älter, als MaxAge= erlaubt
vacuum-use = mehr, als MaxUse= erlaubt
vacuum-free = weniger frei, als KeepFree= verlangt
vacuum-removed = { $id } entfernt, { $size }: { $why }
vacuum-done = { $removed } entfernt, { $kept } behalten ({ $size })

## Berichte zerlegen.
dump-no-core = von diesem Absturz wurde kein ganzer Core behalten; mit der Einstellung Core=keep werden sie es von jetzt an
dump-no-part = dieser Bericht hat keinen Teil namens „{ $part }“; er hat { $parts }
dump-not-for-a-terminal = diese Bytes sind nichts für ein Terminal: nehmen Sie -o DATEI, oder leiten Sie sie in ein anderes Programm
preview-not-for-a-terminal = eine Zip-Datei gehört nicht auf ein Terminal: nehmen Sie -o DATEI
trace-formats = --json und ein anderes --format schließen einander aus
trace-ctf-where = --format ctf legt ein Verzeichnis an: nennen Sie ein neues mit -o VERZEICHNIS
trace-ctf-last = --last geht mit text und json; eine CTF-Aufzeichnung kürzt babeltrace2 mit --begin
trace-not-empty = { $directory } gibt es schon, und es ist kein leeres Verzeichnis: nennen Sie ein neues
trace-none = dieser Bericht hat keine Ereignisse: das Programm hat nichts aufgezeichnet (dazu muss es foretrace einbinden)
trace-none-because = dieser Bericht hat keine Ereignisse: { $why }
debug-no-minidump = dieser Bericht hat keinen Minidump; `foretrace info` sagt, was er hat und warum
debug-gdb = von diesem Absturz wurde kein ganzer Core behalten, und gdb kann keine Minidumps lesen: nehmen Sie lldb (auf Debian und Ubuntu: apt install lldb)
debug-no-lldb = lldb ist nicht installiert, und gdb kann keine Minidumps lesen: installieren Sie es (auf Debian und Ubuntu: apt install lldb), oder nennen Sie einen Debugger mit --debugger
debug-not-handed = der Minidump lässt sich dem Debugger nicht übergeben
debug-no-place = es gibt keinen Ort, an dem der Core auszupacken wäre; setzen Sie TMPDIR
debug-not-unpacked = der Core lässt sich nicht auspacken
capture-missing = foretrace-capture ist nicht neben foretrace installiert: installieren Sie foretrace neu, oder nennen Sie es in FORETRACE_CAPTURE
cannot-write = { $file } lässt sich nicht schreiben
cannot-make = das Verzeichnis { $file } lässt sich nicht anlegen
cannot-start = { $program } lässt sich nicht starten

## Was gemeint war.
find-none = keine ID eines Berichts beginnt mit „{ $text }“; `foretrace list` zeigt, welche es gibt
find-several = „{ $text }“ passt auf { $count } Berichte ({ $shown }); geben Sie mehr Stellen an
find-no-id = „{ $text }“ ist keine ID eines Berichts: eine ID sind 32 hexadezimale Ziffern, oder die ersten davon
match-field = „{ $text }“ ist keine Angabe, nach der sich suchen lässt: nehmen Sie id, pid, program, exe, signal, kind, package, signature oder uid
moment-wrong = „{ $text }“ ist keine Zeit: schreiben Sie 2026-05-01, '2026-05-01 12:30', today, yesterday, oder eine Spanne wie 2h
span-wrong = „{ $text }“ ist keine Zeitspanne: schreiben Sie 5s, 200ms oder 2min
no-connection = eine Verbindung lässt sich nicht vorbereiten
make-room = { $why }; schaffen Sie zuerst Platz: foretrace vacuum entfernt, was die Einstellungen nicht mehr erlauben
redact-wrong = { $place }: Redact={ $pattern }: { $why }; bis das berichtigt ist, geht nichts hinaus
send-gone = { $file }, die Bytes, denen zugestimmt wurde, ist nicht mehr da: antworten Sie noch einmal mit `foretrace consent`
send-no-yes = niemand hat zugestimmt, ihn zu senden
