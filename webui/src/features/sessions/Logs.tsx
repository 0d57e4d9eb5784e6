import { Group, Switch, Text, TextInput } from '@mantine/core'
import { IconSearch } from '@tabler/icons-react'
import { useEffect, useRef, useState } from 'react'
import { useTranslation } from 'react-i18next'
import { useClient } from 'urql'
import { LOGS } from './documents'

const KEPT = 400_000

/** A session's log as it grows. */
export function Logs({ id }: { id: string }) {
  const { t } = useTranslation()
  const client = useClient()
  const [text, setText] = useState('')
  const [error, setError] = useState<string>()
  const [follow, setFollow] = useState(true)
  const [search, setSearch] = useState('')
  const view = useRef<HTMLPreElement>(null)

  useEffect(() => {
    setText('')
    const { unsubscribe } = client.subscription(LOGS, { id, tail: '200000' }).subscribe(({ data, error }) => {
      setError(error?.message)
      const more = data?.sessionLogs.text
      if (more) setText((before) => (before + more).slice(-KEPT))
    })
    return unsubscribe
  }, [client, id])

  const shown = search
    ? text
        .split('\n')
        .filter((line) => line.toLowerCase().includes(search.toLowerCase()))
        .join('\n')
    : text
  // biome-ignore lint/correctness/useExhaustiveDependencies: scrolling follows what is shown
  useEffect(() => {
    if (follow && view.current) view.current.scrollTop = view.current.scrollHeight
  }, [shown, follow])

  return (
    <>
      <Group justify="space-between" mb="xs">
        <TextInput
          size="xs"
          w={260}
          aria-label={t('session.searchLogs')}
          placeholder={t('session.searchLogs')}
          leftSection={<IconSearch size={14} aria-hidden />}
          value={search}
          onChange={(event) => setSearch(event.currentTarget.value)}
        />
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
        {shown || t('session.noLogs')}
      </pre>
    </>
  )
}
