import '@xterm/xterm/css/xterm.css'
import { Alert, Button, Group } from '@mantine/core'
import { ClipboardAddon } from '@xterm/addon-clipboard'
import { FitAddon } from '@xterm/addon-fit'
import { SearchAddon } from '@xterm/addon-search'
import { WebLinksAddon } from '@xterm/addon-web-links'
import { Terminal } from '@xterm/xterm'
import { useEffect, useRef, useState } from 'react'
import { useTranslation } from 'react-i18next'
import { connect, type Line, type LineState } from './line'
import { SearchBar } from './SearchBar'

type Props = {
  sessionId: string
  kernelId?: string
  terminalId: string
  resumed: boolean
  shown: boolean
  size: number
  labelledBy: string
  searching: boolean
  onSearch: (on: boolean) => void
}
type Parts = { terminal: Terminal; fit: FitAddon; search: SearchAddon; line: Line }

/**
 * One shell. The node keeps it and its scrollback under the terminal's id: after a cut or a reload a new ticket for the same
 * id leads back to it, the screen is cleared, and what was there comes first.
 */
export function TerminalPane(props: Props) {
  const { sessionId, kernelId, terminalId, resumed, shown, size, searching, onSearch } = props
  const { t } = useTranslation()
  const place = useRef<HTMLDivElement>(null)
  const [parts, setParts] = useState<Parts>()
  const [state, setState] = useState<LineState>({ is: 'open' })

  // biome-ignore lint/correctness/useExhaustiveDependencies: a shell is made once; the size is set below
  useEffect(() => {
    if (!place.current) return
    const terminal = new Terminal({
      allowProposedApi: true,
      fontSize: size,
      fontFamily: 'ui-monospace, SFMono-Regular, Menlo, Consolas, "Noto Sans Mono CJK KR", monospace',
      scrollback: 10_000,
      cursorBlink: true,
      screenReaderMode: true,
      theme: { background: '#10161d', foreground: '#d8dee6' },
    })
    const fit = new FitAddon()
    const search = new SearchAddon()
    for (const addon of [fit, search, new ClipboardAddon(), new WebLinksAddon()]) terminal.loadAddon(addon)
    terminal.open(place.current)
    fit.fit()
    // Selecting copies, as people expect of a terminal.
    terminal.onSelectionChange(() => {
      const selection = terminal.getSelection()
      if (selection) void navigator.clipboard?.writeText(selection).catch(() => undefined)
    })
    terminal.attachCustomKeyEventHandler((event) => {
      const wanted = event.type === 'keydown' && event.ctrlKey && event.shiftKey && event.code === 'KeyF'
      if (wanted) {
        event.preventDefault()
        onSearch(true)
      }
      return !wanted
    })
    const line = connect({ sessionId, kernelId, terminalId, screen: terminal, resumed, onState: setState })
    const watching = new ResizeObserver(() => place.current?.offsetParent && fit.fit())
    watching.observe(place.current)
    setParts({ terminal, fit, search, line })
    return () => {
      watching.disconnect()
      line.close()
      terminal.dispose()
      setParts(undefined)
    }
  }, [sessionId, kernelId, terminalId])

  useEffect(() => {
    if (!parts) return
    parts.terminal.options.fontSize = size
    if (shown) parts.fit.fit()
  }, [parts, size, shown])

  useEffect(() => {
    if (parts && shown && !searching) parts.terminal.focus()
  }, [parts, shown, searching])

  return (
    <div
      className="terminal-tab"
      hidden={!shown}
      role="tabpanel"
      id={`${props.labelledBy}-panel`}
      aria-labelledby={props.labelledBy}
    >
      {searching && shown && parts && <SearchBar addon={parts.search} onClose={() => onSearch(false)} />}
      {state.is !== 'open' && (
        <Alert color={state.is === 'lost' ? 'orange' : 'gray'} radius={0} py={6} role="status">
          <Group justify="space-between">
            {state.is === 'lost' && `${t('terminal.lost')} ${state.why}`}
            {state.is === 'refused' && state.why}
            {state.is === 'ended' && t('terminal.ended', { code: state.code ?? '–' })}
            {state.is !== 'lost' && (
              <Button size="compact-xs" onClick={() => parts?.line.retry()}>
                {state.is === 'ended' ? t('terminal.restart') : t('app.retry')}
              </Button>
            )}
          </Group>
        </Alert>
      )}
      <div className="terminal-pane" ref={place} />
    </div>
  )
}
