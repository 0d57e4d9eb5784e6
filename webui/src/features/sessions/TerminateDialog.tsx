import { Alert, Button, Checkbox, Group, List, Modal, Stack, Text } from '@mantine/core'
import { useState } from 'react'
import { useTranslation } from 'react-i18next'
import { useMutation } from 'urql'
import { TERMINATE } from './documents'

type Subject = { id: string; name: string }
type Props = { sessions: Subject[]; opened: boolean; onClose: (done: boolean) => void }

/** Asks before sessions are ended, and says which could not be. */
export function TerminateDialog({ sessions, opened, onClose }: Props) {
  const { t } = useTranslation()
  return (
    <Modal
      closeButtonProps={{ 'aria-label': t('app.close') }}
      opened={opened}
      onClose={() => onClose(false)}
      title={t('sessions.endTitle', { count: sessions.length })}
    >
      {/* Made anew each time that it opens: what was chosen for one session is not meant for the next. */}
      <Question sessions={sessions} onClose={onClose} />
    </Modal>
  )
}

function Question({ sessions, onClose }: Omit<Props, 'opened'>) {
  const { t } = useTranslation()
  const [force, setForce] = useState(false)
  const [problems, setProblems] = useState<string[]>([])
  const [{ fetching }, terminate] = useMutation(TERMINATE)

  async function confirm() {
    const { data, error } = await terminate({ input: { ids: sessions.map((one) => one.id), force } })
    const failed =
      data?.terminateSessions.results.flatMap((one) => (one.error ? [one.error.message] : [])) ?? []
    if (error) failed.push(error.message)
    setProblems([...new Set(failed)])
    if (failed.length === 0) onClose(true)
  }

  return (
    <Stack>
      <List size="sm">
        {sessions.map((one) => (
          <List.Item key={one.id}>{one.name}</List.Item>
        ))}
      </List>
      <Text size="sm">{t('sessions.endText')}</Text>
      <Checkbox
        label={t('sessions.force')}
        description={t('sessions.forceHint')}
        checked={force}
        onChange={(event) => setForce(event.currentTarget.checked)}
      />
      {problems.map((problem) => (
        <Alert key={problem} color="red" role="alert">
          {problem}
        </Alert>
      ))}
      <Group justify="flex-end">
        <Button variant="default" onClick={() => onClose(false)} data-autofocus>
          {t('app.cancel')}
        </Button>
        <Button color="red" loading={fetching} onClick={() => void confirm()}>
          {t('sessions.terminate')}
        </Button>
      </Group>
    </Stack>
  )
}
