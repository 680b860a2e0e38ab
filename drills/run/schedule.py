"""Entries that run a suite every week: Barograph has no scheduler of its own."""

from pathlib import Path

from barograph_server.errors import CommandError

KINDS = ("cron", "systemd", "kubernetes")

_CRON = """\
# Drills of {model}, on Wednesday at 10:17. Add this line with `crontab -e`.
17 10 * * 3 cd {folder} && barograph drill suite {file} --junit drills.xml
"""

_SYSTEMD = """\
# /etc/systemd/system/barograph-drills.service
[Unit]
Description=Drills of {model}

[Service]
Type=oneshot
WorkingDirectory={folder}
ExecStart=/usr/bin/env barograph drill suite {file} --junit drills.xml

# /etc/systemd/system/barograph-drills.timer
[Unit]
Description=Weekly drills of {model}

[Timer]
OnCalendar=Wed 10:17
Persistent=true

[Install]
WantedBy=timers.target
"""

_KUBERNETES = """\
apiVersion: batch/v1
kind: CronJob
metadata:
  name: barograph-drills
spec:
  schedule: "17 10 * * 3"
  concurrencyPolicy: Forbid
  jobTemplate:
    spec:
      backoffLimit: 0
      template:
        spec:
          restartPolicy: Never
          containers:
            - name: drills
              image: {image}
              args: ["drill", "suite", "/drills/{name}"]
              envFrom:
                - secretRef:
                    name: barograph
              volumeMounts:
                - name: drills
                  mountPath: /drills
          volumes:
            - name: drills
              configMap:
                name: barograph-drills
"""


def schedule_text(kind: str, suite: Path, model: str, image: str) -> str:
    """Write the entry; only `kubernetes` needs the image."""
    texts = {"cron": _CRON, "systemd": _SYSTEMD, "kubernetes": _KUBERNETES}
    if kind not in texts:
        raise CommandError(f"--for {kind}: write one of {', '.join(KINDS)}.")
    path = suite.resolve()
    return texts[kind].format(model=model, file=path, folder=path.parent, name=path.name, image=image)
