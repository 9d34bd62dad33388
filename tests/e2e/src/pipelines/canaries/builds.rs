//! Builds that let their secrets out in every way that a build has.

/// Every way in which a build lets its secrets out.
pub(super) fn printing(runtime: &str) -> String {
    let file = if runtime.contains("image") { "/run/secrets/file" } else { "secret.txt" };
    format!(
        r#"{runtime}
notify: [{{to: ops, on: [always]}}]
stages:
  - name: print
    secrets: [{{name: plain, env: PLAIN}}, {{name: lines, env: LINES}}, {{name: file, file: {file}}}]
    script: |
      echo "$PLAIN"
      printf '%s' "$PLAIN" | base64
      printf 'x%s' "$PLAIN" | base64 -w 0; echo
      printf 'xy%s' "$PLAIN" | base64 | tr '/+' '_-'
      printf '%s' "$PLAIN" | od -An -v -tx1 | tr -d ' \n'; echo
      printf '%s' "$PLAIN" | sed 's,%,%25,g;s,/,%2F,g;s,+,%2B,g;s,&,%26,g;s,",%22,g;s,\$,%24,g;s, ,%20,g'; echo
      /bin/echo "an argument $PLAIN and more" >&2
      rest=$PLAIN
      while [ -n "$rest" ]; do tail=${{rest#?}}; printf '%s' "${{rest%"$tail"}}"; rest=$tail; done; echo
      echo "$LINES"
      echo "$LINES" | sed 's/^/  | /'
      cat {file}
      env
      echo kept > kept
  - name: tools
    secrets:
      - {{name: to-docker, as: docker}}
      - {{name: to-ssh, as: ssh-key}}
      - {{name: to-maven, as: maven}}
      - {{name: to-npm, as: npm}}
      - {{name: to-pypi, as: pypi}}
      - {{name: to-netrc, as: netrc}}
      - {{name: to-kubernetes, as: kubeconfig}}
    script: |
      cat "$DOCKER_CONFIG/config.json" "$NETRC" "$NPM_CONFIG_USERCONFIG" "$PIP_CONFIG_FILE" "$KUBECONFIG" "$OCELOT_SSH_KEY"
      cat "$(dirname "$NETRC")/git-credentials" "${{MAVEN_ARGS#--settings }}"
      env
  - name: fail
    secrets: [{{name: plain, env: PLAIN}}]
    script: |
      set -x
      word=$PLAIN
      test -z "$word"
artifacts: [{{name: all, paths: ['**'], when: always}}]
cache: [{{name: c, paths: [kept], key: k}}]
"#
    )
}

/// A build that holds its secrets until a file is there.
pub(super) fn holding(runtime: &str, until: &str) -> String {
    format!(
        "{runtime}\nsecrets: [{{name: plain, env: PLAIN}}, {{name: file, file: {}}}]\nstages:\n  - name: hold\n    \
         secrets: [{{name: to-netrc, as: netrc}}]\n    script: |\n      echo holding\n      {until}\n",
        if runtime.contains("image") { "/run/secrets/file" } else { "secret.txt" },
    )
}
