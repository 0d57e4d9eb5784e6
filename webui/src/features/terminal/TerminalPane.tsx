import '@xterm/xterm/css/xterm.css'
import { Alert, Button, Group } from '@mantine/core'
import { ClipboardAddon } from '@xterm/addon-clipboard'
import { FitAddon } from '@xterm/addon-fit'
import { WebLinksAddon } from '@xterm/addon-web-links'
import { Terminal } from '@xterm/xterm'
import { useEffect, useRef, useState } from 'react'
import { useTranslation } from 'react-i18next'
import { ask } from '../../shared/auth'

const OPEN = `mutation OpenTerminal($input: OpenTerminalInput!) {
  openTerminal(input: $input) { terminalId url }
}`

type State = { is: 'open' } | { is: 'lost'; why: string } | { is: 'ended'; code: number | null }
type Props = { sessionId: string; terminalId: string; shown: boolean; size: number; label: string }

/**
 * One shell. The node keeps it and its scrollback under the terminal's id: after a cut or a reload a new ticket for the same
 * id leads back to it, the screen is cleared, and what was there comes first.
 */
export function TerminalPane({ sessionId, terminalId, shown, size, label }: Props) {
  const { t } = useTranslation()
  const place = useRef<HTMLDivElement>(null)
  const screen = useRef<{ terminal: Terminal; fit: FitAddon }>(null)
  const [state, setState] = useState<State>({ is: 'open' })
  const [attempt, setAttempt] = useState(0)

  // biome-ignore lint/correctness/useExhaustiveDependencies: `attempt` begins the shell anew
  useEffect(() => {
    if (!place.current) return
    const terminal = new Terminal({
      fontSize: size,
      fontFamily: 'ui-monospace, SFMono-Regular, Menlo, Consolas, "Noto Sans Mono CJK KR", monospace',
      scrollback: 10_000,
      cursorBlink: true,
      screenReaderMode: true,
      theme: { background: '#10161d', foreground: '#d8dee6' },
    })
    const fit = new FitAddon()
    terminal.loadAddon(fit)
    terminal.loadAddon(new ClipboardAddon())
    terminal.loadAddon(new WebLinksAddon())
    terminal.open(place.current)
    fit.fit()
    terminal.focus()
    screen.current = { terminal, fit }
    // Selecting copies, as people expect of a terminal.
    terminal.onSelectionChange(() => {
      const selection = terminal.getSelection()
      if (selection) void navigator.clipboard?.writeText(selection).catch(() => undefined)
    })

    const line = connect({ sessionId, terminalId, terminal, onState: setState })
    const watching = new ResizeObserver(() => place.current?.offsetParent && fit.fit())
    watching.observe(place.current)
    return () => {
      watching.disconnect()
      line.close()
      terminal.dispose()
      screen.current = null
    }
  }, [sessionId, terminalId, attempt])

  useEffect(() => {
    if (!screen.current) return
    screen.current.terminal.options.fontSize = size
    if (shown) {
      screen.current.fit.fit()
      screen.current.terminal.focus()
    }
  }, [size, shown])

  return (
    <div style={{ display: shown ? 'flex' : 'none', flexDirection: 'column', flex: 1, minHeight: 0 }}>
      {state.is !== 'open' && (
        <Alert color={state.is === 'lost' ? 'orange' : 'gray'} radius={0} py={6} role="status">
          <Group justify="space-between">
            {state.is === 'lost'
              ? `${t('terminal.lost')} ${state.why}`
              : t('terminal.ended', { code: state.code ?? '–' })}
            {state.is === 'ended' && (
              <Button size="compact-xs" onClick={() => setAttempt(attempt + 1)}>
                {t('terminal.restart')}
              </Button>
            )}
          </Group>
        </Alert>
      )}
      <section className="terminal-pane" ref={place} aria-label={label} />
    </div>
  )
}

type Line = { sessionId: string; terminalId: string; terminal: Terminal; onState: (state: State) => void }

/** Keep a terminal connected until it is closed or its shell has ended. */
function connect({ sessionId, terminalId, terminal, onState }: Line) {
  let socket: WebSocket | undefined
  let timer: ReturnType<typeof setTimeout> | undefined
  let closed = false
  let retries = 0
  const encoder = new TextEncoder()

  async function open() {
    try {
      const { openTerminal } = await ask<{ openTerminal: { url: string } }>(OPEN, {
        input: { sessionId, terminalId, columns: terminal.cols, rows: terminal.rows },
      })
      if (closed) return
      const url = new URL(openTerminal.url, location.href)
      url.host = location.host
      url.protocol = location.protocol.replace('http', 'ws')
      socket = new WebSocket(url)
    } catch (error) {
      again((error as Error).message)
      return
    }
    let ended = false
    let problem = ''
    socket.binaryType = 'arraybuffer'
    socket.onopen = () => {
      terminal.reset()
      retries = 0
      onState({ is: 'open' })
      resize()
    }
    socket.onmessage = (event) => {
      if (typeof event.data !== 'string') {
        terminal.write(new Uint8Array(event.data as ArrayBuffer))
        return
      }
      const message = JSON.parse(event.data) as { exit?: number | null; error?: string }
      if ('exit' in message) {
        ended = true
        onState({ is: 'ended', code: message.exit ?? null })
      }
      problem = message.error ?? problem
    }
    socket.onclose = () => {
      if (!ended) again(problem)
    }
  }

  function again(why: string) {
    if (closed) return
    onState({ is: 'lost', why })
    retries += 1
    timer = setTimeout(open, Math.random() * Math.min(8000, 300 * 2 ** retries))
  }

  function send(data: string | Uint8Array<ArrayBuffer>) {
    if (socket?.readyState === WebSocket.OPEN) socket.send(data)
  }

  function resize() {
    send(JSON.stringify({ resize: [terminal.cols, terminal.rows] }))
  }

  const typing = terminal.onData((text) => send(encoder.encode(text)))
  const raw = terminal.onBinary((text) => send(Uint8Array.from(text, (character) => character.charCodeAt(0))))
  const sizing = terminal.onResize(resize)
  void open()
  return {
    close() {
      closed = true
      clearTimeout(timer)
      for (const listener of [typing, raw, sizing]) listener.dispose()
      socket?.close()
    },
  }
}
