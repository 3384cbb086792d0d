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
meaning-null = es benutzte eine Adresse, die auf nichts zeigt{ $at }
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
