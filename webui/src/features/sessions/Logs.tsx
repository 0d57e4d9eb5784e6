import { Group, Select, Switch, Text, TextInput } from '@mantine/core'
import { IconSearch } from '@tabler/icons-react'
import { useEffect, useRef, useState } from 'react'
import { useTranslation } from 'react-i18next'
import { useClient } from 'urql'
import { onReturn } from '../../shared/connection'
import { type Kernel, LOGS } from './documents'

/** Characters that are kept on the screen, and bytes of the past that are asked for. */
const KEPT = 400_000
const TAIL = '200000'

type Props = { id: string; ended: boolean; kernels: Kernel[] }

/** A session's log as it grows: of one of its containers. */
export function Logs({ id, ended, kernels }: Props) {
  const { t } = useTranslation()
  const client = useClient()
  const [text, setText] = useState('')
  const [error, setError] = useState<string>()
  const [follow, setFollow] = useState(true)
  const [search, setSearch] = useState('')
  const [kernel, setKernel] = useState<string | null>(kernels[0]?.id ?? null)
  const view = useRef<HTMLPreElement>(null)

  useEffect(() => {
    setText('')
    const { unsubscribe } = client
      .subscription(LOGS, { id, kernel, tail: TAIL })
      .subscribe(({ data, error }) => {
        setError(error?.message.replace(/^\[\w+\] /, ''))
        const more = data?.sessionLogs.text
        if (more) setText((before) => (before + more).slice(-KEPT))
      })
    // After a cut the stream begins with its tail again: what is shown would be there twice.
    const forget = onReturn(() => setText(''))
    return () => {
      forget()
      unsubscribe()
    }
  }, [client, id, kernel])

  const lines = search ? text.split('\n').filter((line) => matches(line, search)) : undefined
  const shown = lines ? lines.join('\n') : text
  // biome-ignore lint/correctness/useExhaustiveDependencies: scrolling follows what is shown
  useEffect(() => {
    if (follow && view.current) view.current.scrollTop = view.current.scrollHeight
  }, [shown, follow])

  return (
    <>
      <Group justify="space-between" mb="xs">
        <Group gap="sm">
          {kernels.length > 1 && (
            <Select
              size="xs"
              w={130}
              aria-label={t('session.container')}
              data={kernels.map((one) => ({ value: one.id, label: one.hostname }))}
              value={kernel}
              onChange={setKernel}
              allowDeselect={false}
            />
          )}
          <TextInput
            size="xs"
            w={260}
            aria-label={t('session.searchLogs')}
            placeholder={t('session.searchLogs')}
            leftSection={<IconSearch size={14} aria-hidden />}
            value={search}
            onChange={(event) => setSearch(event.currentTarget.value)}
          />
          <Text size="xs" c="dimmed" role="status">
            {lines ? t('session.lines', { count: lines.length }) : ''}
          </Text>
        </Group>
        <Switch
          size="sm"
          label={t('session.follow')}
          checked={follow}
          onChange={(event) => setFollow(event.currentTarget.checked)}
        />
      </Group>
      {error && (
        <Text size="sm" c="red" role="alert" mb="xs">
          {error}
        </Text>
      )}
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: a scrollable region must be reachable by keyboard */}
      <pre className="log mono" ref={view} tabIndex={0} role="log" aria-label={t('session.logs')}>
        {shown || t(search ? 'session.noMatch' : ended ? 'session.noLogsKept' : 'session.noLogs')}
      </pre>
    </>
  )
}

function matches(line: string, wanted: string): boolean {
  return line.toLowerCase().includes(wanted.toLowerCase())
}
